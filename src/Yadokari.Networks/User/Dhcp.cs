using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>A DHCP server: assigns the guest its IPv4 address, netmask, gateway and name server (RFC 2131; RFC 2132). Under the network's lock.</summary>
/// <param name="udp">Sends to the guest.</param>
internal sealed class Dhcp(Udp udp)
{
    /// <summary>The client's port.</summary>
    public const ushort ClientPort = 68;

    /// <summary>The server's port.</summary>
    public const ushort ServerPort = 67;

    private const int FixedSize = 240; // The magic cookie included.
    private const int OptionsSize = 64;
    private const uint Cookie = 0x63825363;
    private const uint LeaseSeconds = 86400;
    private const byte BootRequest = 1;
    private const byte BootReply = 2;

    // Options.
    private const byte Pad = 0;
    private const byte Mask = 1;
    private const byte Router = 3;
    private const byte NameServer = 6;
    private const byte RequestedAddress = 50;
    private const byte LeaseTime = 51;
    private const byte MessageType = 53;
    private const byte ServerId = 54;
    private const byte End = 255;

    private const byte Discover = 1;
    private const byte Offer = 2;
    private const byte Request = 3;
    private const byte Ack = 5;
    private const byte Nak = 6;
    private const byte Inform = 8;

    private static IpAddress Broadcast { get; } = IpAddress.Of("255.255.255.255");

    private static IpAddress NetMask { get; } = IpAddress.Of("255.255.255.0");

    /// <summary>Handles a message of a DHCP client.</summary>
    public void OnMessage(ReadOnlySpan<byte> body)
    {
        if (body.Length < FixedSize || body[0] != BootRequest || BinaryPrimitives.ReadUInt32BigEndian(body[236..]) != Cookie)
        {
            return;
        }

        byte type = 0;
        var client = IpAddress.Read(body[12..], isV6: false); // ciaddr: the address that the client has already.
        IpAddress? wanted = client.Bits == 0 ? null : client;
        for (ReadOnlySpan<byte> rest = body[FixedSize..]; rest.Length > 0 && rest[0] != End;)
        {
            if (rest[0] == Pad)
            {
                rest = rest[1..];
                continue;
            }

            if (rest.Length < 2 || rest.Length < 2 + rest[1])
            {
                break;
            }

            ReadOnlySpan<byte> value = rest.Slice(2, rest[1]);
            switch (rest[0])
            {
                case MessageType when value.Length == 1:
                    type = value[0];
                    break;
                case RequestedAddress when value.Length == 4:
                    wanted = IpAddress.Read(value, isV6: false);
                    break;
                case ServerId when value.Length == 4 && IpAddress.Read(value, isV6: false) != Routes.Gateway4:
                    return; // The client chose another server.
            }

            rest = rest[(2 + value.Length)..];
        }

        byte answer = type switch
        {
            Discover => Offer,
            Request => wanted is null || wanted == Routes.Guest4 ? Ack : Nak,
            Inform => Ack,
            _ => 0,
        };
        if (answer != 0)
        {
            Answer(body, answer, type == Inform ? client : null);
        }
    }

    private void Answer(ReadOnlySpan<byte> request, byte type, IpAddress? informedClient)
    {
        Span<byte> datagram = stackalloc byte[Udp.HeaderSize + FixedSize + OptionsSize];
        datagram.Clear();
        Span<byte> body = datagram[Udp.HeaderSize..];
        request[..44].CopyTo(body); // xid, secs, flags, ciaddr to giaddr, chaddr.
        body[0] = BootReply;
        body[12..28].Clear(); // Of the addresses only ciaddr and yiaddr are set.
        request[12..16].CopyTo(body[12..]);
        if (type != Nak && informedClient is null)
        {
            Routes.Guest4.Write(body[16..]);
        }

        BinaryPrimitives.WriteUInt32BigEndian(body[236..], Cookie);
        Span<byte> rest = body[FixedSize..];
        Put(ref rest, MessageType, [type]);
        Put(ref rest, ServerId, Routes.Gateway4);
        if (type != Nak)
        {
            Put(ref rest, Mask, NetMask);
            Put(ref rest, Router, Routes.Gateway4);
            Put(ref rest, NameServer, Routes.Dns4);
            if (informedClient is null)
            {
                Span<byte> time = stackalloc byte[4];
                BinaryPrimitives.WriteUInt32BigEndian(time, LeaseSeconds);
                Put(ref rest, LeaseTime, time);
            }
        }

        rest[0] = End;
        udp.Deliver(new Conversation(informedClient ?? Broadcast, ClientPort, Routes.Gateway4, ServerPort), datagram);
    }

    private static void Put(ref Span<byte> rest, byte option, in IpAddress address)
    {
        Span<byte> value = stackalloc byte[4];
        address.Write(value);
        Put(ref rest, option, value);
    }

    private static void Put(ref Span<byte> rest, byte option, scoped ReadOnlySpan<byte> value)
    {
        rest[0] = option;
        rest[1] = (byte)value.Length;
        value.CopyTo(rest[2..]);
        rest = rest[(2 + value.Length)..];
    }
}
