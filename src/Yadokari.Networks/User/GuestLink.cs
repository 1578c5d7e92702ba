using System.Buffers.Binary;
using Yadokari.Core.Networks;

namespace Yadokari.Networks.User;

/// <summary>Puts packets into frames for the guest. Under the network's lock.</summary>
internal sealed class GuestLink
{
    /// <summary>The most bytes of a packet that is not cut.</summary>
    public const int Mtu = 1500;

    /// <summary>Bytes of an Ethernet header.</summary>
    public const int EthernetSize = 14;

    /// <summary>Ethernet's type of IPv4.</summary>
    public const ushort V4 = 0x0800;

    /// <summary>Ethernet's type of IPv6.</summary>
    public const ushort V6 = 0x86DD;

    /// <summary>The protocol's number, ICMP for IPv4.</summary>
    public const byte Icmp4 = 1;

    /// <summary>The protocol's number, TCP.</summary>
    public const byte Tcp = 6;

    /// <summary>The protocol's number, UDP.</summary>
    public const byte Udp = 17;

    /// <summary>The protocol's number, ICMP for IPv6.</summary>
    public const byte Icmp6 = 58;

    private const byte Fragment6 = 44;
    private const int V4Size = 20;
    private const int V6Size = 40;
    private const int Fragment6Size = 8;
    private const byte TimeToLive = 64;
    private const byte LinkTimeToLive = 255; // Neighbour discovery takes nothing that passed a router (RFC 4861, 7.1.1).

    private uint _identification;

    /// <summary>Frames for the guest.</summary>
    public FrameQueue Queue { get; } = new();

    /// <summary>The gateway's address on the link.</summary>
    public static ReadOnlySpan<byte> OwnMac => [0x52, 0x59, 0x41, 0x44, 0x4F, 0x01];

    /// <summary>The guest's: whoever sent last.</summary>
    public byte[] GuestMac { get; } = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

    /// <summary>What the guest's driver takes over.</summary>
    public NetworkOffloads Taken { get; set; }

    /// <summary>Bytes before a packet's own header in a frame.</summary>
    public static int Headers(bool isV6) => EthernetSize + (isV6 ? V6Size : V4Size);

    /// <summary>Room for what is behind an IP header, to be filled and then sent by <see cref="End"/>. False if there is none.</summary>
    public bool TryBegin(bool isV6, int length, out Span<byte> body)
    {
        bool room = Queue.TryReserve(Headers(isV6) + length, out Span<byte> frame);
        body = room ? frame[Headers(isV6)..] : default;
        return room;
    }

    /// <summary>Sends what was built where <see cref="TryBegin"/> last said.</summary>
    /// <param name="from">From whom.</param>
    /// <param name="to">To whom.</param>
    /// <param name="protocol">The protocol.</param>
    /// <param name="body">The same as there.</param>
    /// <param name="checksumAt">Where in it the checksum goes.</param>
    /// <param name="header">Bytes of the protocol's header, if it is longer than a packet may be and to be cut.</param>
    /// <param name="segment">Then, bytes of data in each piece; else 0.</param>
    public void End(in IpAddress from, in IpAddress to, byte protocol, ReadOnlySpan<byte> body, int checksumAt, int header = 0, int segment = 0)
    {
        Queue.TryReserve(Headers(to.IsV6) + body.Length, out Span<byte> frame); // The room that was given.
        WriteHeaders(frame, from, to, protocol, body.Length, 0);
        Span<byte> own = frame[Headers(to.IsV6)..];
        bool left = protocol is Tcp or Udp && (Taken & NetworkOffloads.Checksum) != 0;
        WriteChecksum(own, from, to, protocol, checksumAt, whole: !left);
        int start = Headers(to.IsV6);
        Queue.Put(frame.Length, !left ? default : new FrameOffload(
            FrameOffload.NeedsChecksum,
            segment == 0 ? FrameOffload.Whole : to.IsV6 ? FrameOffload.Tcp6 : FrameOffload.Tcp4,
            segment == 0 ? (ushort)0 : (ushort)(start + header),
            (ushort)segment,
            (ushort)start,
            (ushort)checksumAt));
    }

    /// <summary>Sends a packet, in fragments if it is longer than the link allows. What finds no room is lost, as on any network.</summary>
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

        WriteChecksum(body, from, to, protocol, checksumAt, whole: true);
        _identification++;
        int extra = isV6 ? Fragment6Size : 0;
        int most = (Mtu - (Headers(isV6) - EthernetSize) - extra) & ~7;
        for (int at = 0; at < body.Length; at += most)
        {
            ReadOnlySpan<byte> piece = body[at..Math.Min(body.Length, at + most)];
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

    /// <summary>Sends what is not IP.</summary>
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

        // RFC 791, 3.1. Where it is one piece it says that it is not to be cut, and its number says nothing (RFC 6864).
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

    // With the pseudo header's sum alone, whoever cuts or sends the frame does the rest.
    private static void WriteChecksum(Span<byte> body, in IpAddress from, in IpAddress to, byte protocol, int at, bool whole)
    {
        BinaryPrimitives.WriteUInt16BigEndian(body[at..], 0);
        uint sum = protocol == Icmp4 ? 0 : Checksum.Pseudo(from, to, protocol, body.Length);
        ushort value = whole ? Checksum.Finish(Checksum.Add(sum, body)) : Checksum.Fold(sum);
        BinaryPrimitives.WriteUInt16BigEndian(body[at..], whole && value == 0 && protocol == Udp ? (ushort)0xFFFF : value);
    }
}
