using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>Sends ICMP destination unreachable messages to the guest (RFC 792; RFC 4443, 3.1). Under the network's lock.</summary>
/// <param name="link">Sends to the guest.</param>
internal sealed class DestinationUnreachable(GuestLink link)
{
    private const int HeaderSize = 8;
    private const int ChecksumAt = 2;
    private const int MaxQuoted = 512;
    private const byte Type4 = 3;
    private const byte Type6 = 1;
    private const byte Network4 = 0;
    private const byte Port4 = 3;
    private const byte Network6 = 0;
    private const byte Port6 = 4;

    /// <summary>Reports that the destination of a packet is unreachable.</summary>
    /// <param name="packet">The packet, from its IP header on.</param>
    /// <param name="from">The packet's source address.</param>
    /// <param name="port">Whether only the port is unreachable, else the network.</param>
    public void Send(ReadOnlySpan<byte> packet, in IpAddress from, bool port)
    {
        if (from.IsToMany || from.Bits == 0)
        {
            return;
        }

        ReadOnlySpan<byte> quoted = packet[..Math.Min(packet.Length, MaxQuoted)];
        Span<byte> body = stackalloc byte[HeaderSize + quoted.Length];
        body[..HeaderSize].Clear();
        body[0] = from.IsV6 ? Type6 : Type4;
        body[1] = from.IsV6 ? port ? Port6 : Network6 : port ? Port4 : Network4;
        quoted.CopyTo(body[HeaderSize..]);
        IpAddress gateway = from.IsV6 ? Routes.Gateway6 : Routes.Gateway4;
        link.Send(gateway, from, from.IsV6 ? GuestLink.Icmp6 : GuestLink.Icmp4, body, ChecksumAt);
    }

    /// <summary>Reports port unreachable for a UDP flow. The packet that caused it is not kept: the headers by which the guest identifies the flow are built anew.</summary>
    public void SendPort(in Conversation conversation)
    {
        bool isV6 = conversation.Guest.IsV6;
        int ip = GuestLink.Headers(isV6) - GuestLink.EthernetSize;
        Span<byte> packet = stackalloc byte[ip + Udp.HeaderSize];
        packet.Clear();
        if (isV6)
        {
            packet[0] = 0x60;
            packet[5] = Udp.HeaderSize;
            packet[6] = GuestLink.Udp;
            conversation.Guest.Write(packet[8..]);
            conversation.Other.Write(packet[24..]);
        }
        else
        {
            packet[0] = 0x45;
            packet[3] = (byte)packet.Length;
            packet[9] = GuestLink.Udp;
            conversation.Guest.Write(packet[12..]);
            conversation.Other.Write(packet[16..]);
        }

        BinaryPrimitives.WriteUInt16BigEndian(packet[ip..], conversation.GuestPort);
        BinaryPrimitives.WriteUInt16BigEndian(packet[(ip + 2)..], conversation.OtherPort);
        BinaryPrimitives.WriteUInt16BigEndian(packet[(ip + 4)..], Udp.HeaderSize);
        Send(packet, conversation.Guest, port: true);
    }
}
