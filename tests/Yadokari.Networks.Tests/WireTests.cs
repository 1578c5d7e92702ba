using System.Buffers.Binary;
using Yadokari.Core.Networks;
using Yadokari.Networks.User;

namespace Yadokari.Networks.Tests;

/// <summary>The network as a guest sees it that speaks to it frame by frame, written from the RFCs.</summary>
public sealed class WireTests : IDisposable
{
    private static readonly byte[] s_mac = [2, 0, 0, 0, 0, 7];

    private readonly UserNetwork _network = new([]);

    public void Dispose() => _network.Dispose();

    [Theory]
    [InlineData(2, true)]
    [InlineData(3, true)]
    [InlineData(15, false)] // The guest's own: whoever looks whether it is free must hear nothing.
    [InlineData(99, false)]
    public void Arp_is_answered_for_the_networks_own_addresses(byte last, bool answered)
    {
        Send(Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 1, .. s_mac, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, last]));
        byte[]? reply = Receive();
        Assert.Equal(answered, reply is not null);
        if (reply is not null)
        {
            Assert.Equal(s_mac, reply[..6]);
            Assert.Equal([0, 2], reply[20..22]);
            Assert.Equal([10, 0, 2, last], reply[28..32]);
            Assert.Equal(reply[6..12], reply[22..28]);
            Assert.Equal([.. s_mac, 10, 0, 2, 15], reply[32..42]);
        }
    }

    [Fact]
    public void Dhcp_offers_and_gives_the_address()
    {
        byte[] offer = Ask(1, []);
        Assert.Equal(2, Option(offer, 53)![0]);
        Assert.Equal([10, 0, 2, 15], offer[16..20]);
        Assert.Equal([10, 0, 2, 3], Option(offer, 6));
        byte[] ack = Ask(3, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]);
        Assert.Equal(5, Option(ack, 53)![0]);
        Assert.Equal([10, 0, 2, 2], Option(ack, 3));
        Assert.Equal([255, 255, 255, 0], Option(ack, 1));
        byte[] nak = Ask(3, [50, 4, 192, 168, 1, 5]);
        Assert.Equal(6, Option(nak, 53)![0]);
        Assert.Equal(new byte[4], nak[16..20]);
    }

    [Fact]
    public void Dhcp_of_another_server_is_left_alone()
    {
        Send(Dhcp(3, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 77]));
        Assert.Null(Receive());
    }

    [Theory]
    [InlineData(127, 0, 0, 1)]
    [InlineData(169, 254, 169, 254)]
    [InlineData(0, 0, 0, 0)]
    [InlineData(10, 0, 2, 200)]
    [InlineData(10, 0, 2, 2)] // Without the option, the host's loopback is not to be reached.
    public void Where_packets_may_not_go_the_guest_is_told(byte a, byte b, byte c, byte d)
    {
        byte[] udp = [4, 0, 0, 80, 0, 9, 0, 0, 42];
        Send(V4(17, [a, b, c, d], udp));
        byte[] error = Receive()!;
        Assert.Equal(1, error[14 + 9]);
        Assert.Equal(3, error[34]);
        Assert.Equal([a, b, c, d], error[(42 + 16)..(42 + 20)]);

        byte[] syn = [4, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 16, 0, 0, 0, 0, 0];
        Send(V4(6, [a, b, c, d], syn));
        byte[] answer = Receive()!;
        Assert.True(answer[23] == 1 || (answer[23] == 6 && (answer[34 + 13] & 4) != 0), Convert.ToHexString(answer));
    }

    [Fact]
    public void Routers_and_neighbours_are_known_by_IPv6()
    {
        byte[] from = [0xFE, 0x80, .. new byte[13], 9];
        byte[] allRouters = [0xFF, 2, .. new byte[13], 2];
        Send(V6(58, from, allRouters, [133, 0, 0, 0, 0, 0, 0, 0]));
        byte[] advertisement = Receive()!;
        Assert.Equal(134, advertisement[54]);
        Assert.Equal(255, advertisement[14 + 7]);
        byte[] gateway = [0xFE, 0x80, .. new byte[13], 2];
        Assert.Equal(gateway, advertisement[22..38]);
        Send(V6(58, from, [0xFF, 2, .. new byte[9], 1, 0xFF, 0, 0, 2], [135, 0, 0, 0, 0, 0, 0, 0, .. gateway, 1, 1, .. s_mac]));
        byte[] neighbour = Receive()!;
        Assert.Equal(136, neighbour[54]);
        Assert.Equal(gateway, neighbour[62..78]);
        Assert.Equal(neighbour[6..12], neighbour[80..86]);
    }

    [Fact]
    public void Random_frames_are_survived()
    {
        var random = new Random(7);
        for (int i = 0; i < 200_000; i++)
        {
            byte[] body = new byte[random.Next(1, 120)];
            random.NextBytes(body);
            bool six = random.Next(2) == 0;

            // Nothing is sent outside: where a destination would be, there is an address that nobody passes on.
            byte[] frame = random.Next(4) switch
            {
                0 => Ethernet((ushort)random.Next(ushort.MaxValue), body),
                1 => Ethernet(0x0806, body),
                _ when six => V6(random.Next(3) == 0 ? (byte)random.Next(256) : (byte)(6 + (11 * random.Next(2))), new byte[16], [.. new byte[15], 1], body),
                _ => V4(random.Next(3) == 0 ? (byte)random.Next(256) : (byte)(6 + (11 * random.Next(2))), [10, 0, 2, (byte)random.Next(2, 4)], body, (ushort)(random.Next(3) == 0 ? random.Next(0x4000) : 0)),
            };
            if (frame[12] == 8 && frame[13] == 0 && frame.Length > 36)
            {
                frame[36] = 1; // No name server's port.
            }

            int length = random.Next(8) == 0 ? random.Next(frame.Length) : frame.Length;
            if (frame[12] == 8 && frame[13] == 0 && length < 36)
            {
                length = frame.Length;
            }

            _network.Send(frame.AsSpan(0, length), default);
            if (i % 16 == 0)
            {
                _network.Flush();
                while (Receive() is not null)
                {
                }
            }
        }

        while (Receive() is not null)
        {
        }

        Dhcp_offers_and_gives_the_address();
    }

    private byte[] Ask(byte type, byte[] options)
    {
        Send(Dhcp(type, options));
        byte[] reply = Receive()!;
        Assert.Equal(17, reply[23]);
        Assert.Equal([0, 67, 0, 68], reply[34..38]);
        Assert.Equal(0xFFFF, Sum([.. reply[26..34], 0, 17, .. reply[38..40], .. reply[34..]]));
        return reply[42..];
    }

    private static byte[] Dhcp(byte type, byte[] options)
    {
        byte[] bootp = new byte[240];
        bootp[0] = bootp[1] = 1;
        bootp[2] = 6;
        s_mac.CopyTo(bootp, 28);
        byte[] cookie = [0x63, 0x82, 0x53, 0x63];
        cookie.CopyTo(bootp, 236);
        byte[] body = [.. bootp, 53, 1, type, .. options, 255];
        byte[] udp = [0, 68, 0, 67, 0, (byte)0, 0, 0, .. body];
        BinaryPrimitives.WriteUInt16BigEndian(udp.AsSpan(4), (ushort)udp.Length);
        return V4(17, [255, 255, 255, 255], udp);
    }

    private static byte[]? Option(byte[] reply, byte wanted)
    {
        for (int at = 240; reply[at] != 255; at += 2 + reply[at + 1])
        {
            if (reply[at] == wanted)
            {
                return reply[(at + 2)..(at + 2 + reply[at + 1])];
            }
        }

        return null;
    }

    private static byte[] Ethernet(ushort type, byte[] body) => [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, .. s_mac, (byte)(type >> 8), (byte)type, .. body];

    private static byte[] V4(byte protocol, byte[] to, byte[] body, ushort fragment = 0)
    {
        byte[] header = [0x45, 0, 0, 0, 0, 1, (byte)(fragment >> 8), (byte)fragment, 64, protocol, 0, 0, 10, 0, 2, 15, .. to];
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(2), (ushort)(20 + body.Length));
        return Ethernet(0x0800, [.. header, .. body]);
    }

    private static byte[] V6(byte protocol, byte[] from, byte[] to, byte[] body) =>
        Ethernet(0x86DD, [0x60, 0, 0, 0, (byte)(body.Length >> 8), (byte)body.Length, protocol, 255, .. from, .. to, .. body]);

    private static int Sum(byte[] bytes)
    {
        int sum = 0;
        for (int i = 0; i < bytes.Length; i += 2)
        {
            sum += (bytes[i] << 8) + (i + 1 < bytes.Length ? bytes[i + 1] : 0);
            sum = (sum & 0xFFFF) + (sum >> 16);
        }

        return sum;
    }

    private void Send(byte[] frame)
    {
        _network.Send(frame, default);
        _network.Flush();
    }

    private byte[]? Receive()
    {
        if (!_network.TryPeek(out ReadOnlySpan<byte> frame, out _))
        {
            return null;
        }

        byte[] copy = frame.ToArray();
        _network.Release();
        return copy;
    }
}
