using System.Buffers.Binary;
using Yadokari.Core.Networks;

namespace Yadokari.Networks.User;

/// <summary>Encapsulates packets in Ethernet frames for the guest. Under the network's lock.</summary>
internal sealed class GuestLink
{
    /// <summary>The maximum transmission unit in bytes: larger packets are fragmented or segmented.</summary>
    public const int Mtu = 1500;

    /// <summary>Bytes of an Ethernet header.</summary>
    public const int EthernetSize = 14;

    /// <summary>EtherType of IPv4.</summary>
    public const ushort V4 = 0x0800;

    /// <summary>EtherType of IPv6.</summary>
    public const ushort V6 = 0x86DD;

    /// <summary>IP protocol number of ICMP.</summary>
    public const byte Icmp4 = 1;

    /// <summary>IP protocol number of TCP.</summary>
    public const byte Tcp = 6;

    /// <summary>IP protocol number of UDP.</summary>
    public const byte Udp = 17;

    /// <summary>IP protocol number of ICMPv6.</summary>
    public const byte Icmp6 = 58;

    private const byte Fragment6 = 44;
    private const int V4Size = 20;
    private const int V6Size = 40;
    private const int Fragment6Size = 8;
    private const byte TimeToLive = 64;
    private const byte LinkTimeToLive = 255; // Neighbour discovery messages are valid only with hop limit 255 (RFC 4861, 7.1.1).

    private uint _identification;

    /// <summary>Frames for the guest.</summary>
    public FrameQueue Queue { get; } = new();

    /// <summary>The gateway's MAC address.</summary>
    public static ReadOnlySpan<byte> OwnMac => [0x52, 0x59, 0x41, 0x44, 0x4F, 0x01];

    /// <summary>The guest's MAC address: the source of its last frame; broadcast until there is one.</summary>
    public byte[] GuestMac { get; } = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

    /// <summary>The offloads that the guest's driver negotiated (<see cref="INetwork.GuestOffloads"/>).</summary>
    public NetworkOffloads GuestOffloads { get; set; }

    /// <summary>Bytes of Ethernet and IP header.</summary>
    public static int Headers(bool isV6) => EthernetSize + (isV6 ? V6Size : V4Size);

    /// <summary>Reserves space for an IP payload in the frame queue, to be filled and then sent by <see cref="End"/>. False if the queue is full.</summary>
    public bool TryBegin(bool isV6, int length, out Span<byte> body)
    {
        bool room = Queue.TryReserve(Headers(isV6) + length, out Span<byte> frame);
        body = room ? frame[Headers(isV6)..] : default;
        return room;
    }

    /// <summary>Queues the frame whose payload was filled after <see cref="TryBegin"/>.</summary>
    /// <param name="from">The source address.</param>
    /// <param name="to">The destination address.</param>
    /// <param name="protocol">The IP protocol number.</param>
    /// <param name="body">The span that <see cref="TryBegin"/> returned.</param>
    /// <param name="checksumAt">Offset of the checksum field in it.</param>
    /// <param name="header">Bytes of the TCP header, if the guest is to segment the frame (TSO).</param>
    /// <param name="segment">Then, bytes of data in each segment; else 0.</param>
    public void End(in IpAddress from, in IpAddress to, byte protocol, ReadOnlySpan<byte> body, int checksumAt, int header = 0, int segment = 0)
    {
        Queue.TryReserve(Headers(to.IsV6) + body.Length, out Span<byte> frame); // The same space again.
        WriteHeaders(frame, from, to, protocol, body.Length, 0);
        Span<byte> own = frame[Headers(to.IsV6)..];
        bool offloaded = protocol is Tcp or Udp && (GuestOffloads & NetworkOffloads.Checksum) != 0;
        WriteChecksum(own, from, to, protocol, checksumAt, complete: !offloaded);
        int start = Headers(to.IsV6);
        Queue.Put(frame.Length, !offloaded ? default : new FrameOffload(
            FrameOffload.NeedsChecksum,
            segment == 0 ? FrameOffload.Whole : to.IsV6 ? FrameOffload.Tcp6 : FrameOffload.Tcp4,
            segment == 0 ? (ushort)0 : (ushort)(start + header),
            (ushort)segment,
            (ushort)start,
            (ushort)checksumAt));
    }

    /// <summary>Queues a packet, fragmented if it exceeds the MTU. Drops it if the frame queue is full.</summary>
    public void Send(in IpAddress from, in IpAddress to, byte protocol, Span<byte> body, int checksumAt)
    {
        bool isV6 = to.IsV6;
        if (body.Length + Headers(isV6) - EthernetSize <= Mtu)
        {
            if (TryBegin(isV6, body.Length, out Span<byte> room))
            {
                body.CopyTo(room);
                End(from, to, protocol, room, checksumAt);
            }

            return;
        }

        WriteChecksum(body, from, to, protocol, checksumAt, complete: true);
        _identification++;
        int extra = isV6 ? Fragment6Size : 0;
        int maxFragment = (Mtu - (Headers(isV6) - EthernetSize) - extra) & ~7;
        for (int at = 0; at < body.Length; at += maxFragment)
        {
            ReadOnlySpan<byte> piece = body[at..Math.Min(body.Length, at + maxFragment)];
            bool last = at + piece.Length == body.Length;
            if (!TryBegin(isV6, extra + piece.Length, out Span<byte> room))
            {
                return;
            }

            if (isV6)
            {
                // RFC 8200, 4.5
                room[0] = protocol;
                room[1] = 0;
                BinaryPrimitives.WriteUInt16BigEndian(room[2..], (ushort)(at | (last ? 0 : 1)));
                BinaryPrimitives.WriteUInt32BigEndian(room[4..], _identification);
            }

            piece.CopyTo(room[extra..]);
            Queue.TryReserve(Headers(isV6) + room.Length, out Span<byte> frame);
            WriteHeaders(frame, from, to, isV6 ? Fragment6 : protocol, room.Length, (ushort)((at / 8) | (last ? 0 : 0x2000)));
            Queue.Put(frame.Length, default);
        }
    }

    /// <summary>Queues a frame of another EtherType.</summary>
    public void SendRaw(ushort type, ReadOnlySpan<byte> body)
    {
        if (Queue.TryReserve(EthernetSize + body.Length, out Span<byte> frame))
        {
            WriteEthernet(frame, type);
            body.CopyTo(frame[EthernetSize..]);
            Queue.Put(frame.Length, default);
        }
    }

    private void WriteEthernet(Span<byte> frame, ushort type)
    {
        GuestMac.CopyTo(frame);
        OwnMac.CopyTo(frame[6..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[12..], type);
    }

    private void WriteHeaders(Span<byte> frame, in IpAddress from, in IpAddress to, byte protocol, int length, ushort fragment)
    {
        WriteEthernet(frame, to.IsV6 ? V6 : V4);
        Span<byte> ip = frame[EthernetSize..];
        if (to.IsV6)
        {
            // RFC 8200, 3
            BinaryPrimitives.WriteUInt32BigEndian(ip, 6u << 28);
            BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)length);
            ip[6] = protocol;
            ip[7] = protocol == Icmp6 ? LinkTimeToLive : TimeToLive;
            from.Write(ip[8..]);
            to.Write(ip[24..]);
            return;
        }

        // RFC 791, 3.1. An unfragmented packet has Don't Fragment set and no identification (RFC 6864, 4.1).
        ip[0] = 0x45;
        ip[1] = 0;
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(V4Size + length));
        BinaryPrimitives.WriteUInt16BigEndian(ip[4..], fragment == 0 ? (ushort)0 : (ushort)_identification);
        BinaryPrimitives.WriteUInt16BigEndian(ip[6..], fragment == 0 ? (ushort)0x4000 : fragment);
        ip[8] = TimeToLive;
        ip[9] = protocol;
        ip[10] = ip[11] = 0;
        from.Write(ip[12..]);
        to.Write(ip[16..]);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], Checksum.Finish(Checksum.Add(0, ip[..V4Size])));
    }

    // An incomplete checksum is the sum of the pseudo header: the receiver completes it (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    private static void WriteChecksum(Span<byte> body, in IpAddress from, in IpAddress to, byte protocol, int at, bool complete)
    {
        BinaryPrimitives.WriteUInt16BigEndian(body[at..], 0);
        uint sum = protocol == Icmp4 ? 0 : Checksum.Pseudo(from, to, protocol, body.Length);
        ushort value = complete ? Checksum.Finish(Checksum.Add(sum, body)) : Checksum.Fold(sum);
        BinaryPrimitives.WriteUInt16BigEndian(body[at..], complete && value == 0 && protocol == Udp ? (ushort)0xFFFF : value);
    }
}
