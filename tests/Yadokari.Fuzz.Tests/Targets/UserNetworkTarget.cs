using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.NetworkInformation;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;
using Yadokari.Networks.User;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>A network card in the user network: packets of all protocols, mostly right, and connections with a server of the test's that go on.</summary>
internal sealed class UserNetworkTarget : Target
{
    private const byte Syn = 2;
    private const byte Ack = 16;

    private static readonly EchoServer s_server = new();
    private static readonly byte[] s_mac = [2, 0, 0, 0, 0, 7];
    private static readonly byte[] s_guest4 = [10, 0, 2, 15];
    private static readonly byte[] s_gateway4 = [10, 0, 2, 2];
    private static readonly byte[] s_guest6 = [0xFD, 0x79, 0x61, 0x64, 0x6F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15];
    private static readonly byte[] s_gateway6 = [0xFD, 0x79, 0x61, 0x64, 0x6F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    private readonly ConcurrentDictionary<ushort, (uint Sequence, uint Acknowledge)> _connections = []; // By the guest's port: what to say next.

    public UserNetworkTarget() =>
        Device = new VirtioNet(Behind(new FencedNetwork(new UserNetwork([], hostLoopback: true), s_server.TcpPort, s_server.UdpPort)), 0, new PhysicalAddress(s_mac));

    public override VirtioDevice Device { get; }

    public override bool Answers(int queue) => queue != 0;

    public override Request Make(Random random, int queue) => queue switch
    {
        0 => new Request([], 1526),
        1 => new Request([.. random.Next(4) == 0 ? NetTarget.Header(random) : new byte[12], .. Mutate(random, Frame(random))], 0),
        _ => new Request(Mutate(random, NetTarget.Command(random)), 1),
    };

    public override string Judge(int queue, byte[] reply, uint written)
    {
        if (queue != 0)
        {
            return queue == 1 ? "sent" : reply[0] == 0 ? "ok" : "error";
        }

        ReadOnlySpan<byte> frame = reply.AsSpan(Math.Min(reply.Length, 12));
        return frame.Length < 54 || written < 12 + 42 ? "short" : BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) switch
        {
            0x0806 => "ARP",
            0x86DD => "IPv6",
            0x0800 when frame[23] == 6 => Hear(frame),
            0x0800 => frame[23] == 17 ? "UDP" : "ICMP",
            _ => "other",
        };
    }

    public override void Work(Driver driver, Random random)
    {
        Assert.True(driver.TrySubmit(0, new Request([], 1526)));
        driver.Ask(1, [.. new byte[12], .. ArpRequest()], 0);
        byte[] got = [];
        while (true)
        {
            Slot.WaitFor(() => driver.TryTake(0, out got, out _), "an ARP reply");
            if (got[(12 + 12)..(12 + 14)] is [8, 6])
            {
                break;
            }

            driver.TrySubmit(0, new Request([], 1526));
        }

        Assert.Equal(s_gateway4, got[(12 + 28)..(12 + 32)]);
    }

    // A segment from the network: what it says of the connection is what to go on with.
    private string Hear(ReadOnlySpan<byte> frame)
    {
        ReadOnlySpan<byte> segment = frame[34..];
        byte flags = segment[13];
        ushort guest = BinaryPrimitives.ReadUInt16BigEndian(segment[2..]);
        int data = BinaryPrimitives.ReadUInt16BigEndian(frame[16..]) - 20 - (segment[12] >> 4 << 2);
        uint next = BinaryPrimitives.ReadUInt32BigEndian(segment[4..]) + (uint)Math.Max(data, 0) + (uint)(flags & 1) + (uint)((flags >> 1) & 1);
        if ((flags & 4) != 0)
        {
            _connections.TryRemove(guest, out _);
            return "TCP reset";
        }

        _connections[guest] = (BinaryPrimitives.ReadUInt32BigEndian(segment[8..]), next);
        return (flags & Syn) != 0 ? "TCP connected" : data > 0 ? "TCP data" : "TCP";
    }

    private byte[] Frame(Random random)
    {
        byte[] data = new byte[random.Next(4) == 0 ? random.Next(1400) : random.Next(40)];
        random.NextBytes(data);
        ushort port = (ushort)(1000 + random.Next(6));
        byte[] to = random.Next(4) != 0 ? s_gateway4 : random.Next(5) switch { 0 => [10, 0, 2, 3], 1 => [127, 0, 0, 1], 2 => [169, 254, 1, 1], 3 => [10, 0, 2, 99], _ => [255, 255, 255, 255] };
        switch (random.Next(20))
        {
            case 0:
                return ArpRequest();
            case 1:
                return V4(17, [255, 255, 255, 255], Datagram(68, 67, Dhcp(random)));
            case 2:
                return V4(1, to, [8, 0, 0, 0, .. data]);
            case 3:
                return V4(17, to, Datagram(port, 9, data));
            case 4:
                int offset = random.Next(20);
                return V4(17, to, Datagram(port, 9, data), (ushort)((random.Next(2) << 13) | offset));
            case 5:
                return V6(58, [0xFF, 2, .. new byte[13], 2], [133, 0, 0, 0, 0, 0, 0, 0]);
            case 6:
                return V6(58, [0xFF, 2, .. new byte[9], 1, 0xFF, 0, 0, 2], [135, 0, 0, 0, 0, 0, 0, 0, .. s_gateway6, 1, 1, .. s_mac]);
            case 7:
                byte[] body = random.Next(2) == 0 ? Datagram(port, 9, data) : Segment(random, port, Syn, [], data);
                return V6((byte)random.Next(70), s_gateway6, [(byte)(random.Next(2) == 0 ? 17 : 6), (byte)random.Next(2), 0, (byte)random.Next(4), 0, 0, 0, 0, .. body]);
            case 8:
                return random.Next(2) == 0 ? V6(17, s_gateway6, Datagram(port, 9, data)) : V6(6, s_gateway6, Segment(random, port, Syn, [], []));
            default:
                byte flags = !_connections.ContainsKey(port) || random.Next(12) == 0 ? Syn : (byte)(Ack | (random.Next(8) == 0 ? random.Next(64) : 0));
                byte[] options = (flags & Syn) == 0 ? [] : random.Next(3) == 0 ? [2, 4, (byte)random.Next(6), (byte)random.Next(256), 1, 3, 3, (byte)random.Next(20)] : [2, 4, 5, 0xB4];
                return V4(6, to, Segment(random, port, flags, options, (flags & Syn) != 0 ? [] : data));
        }
    }

    private byte[] Segment(Random random, ushort port, byte flags, byte[] options, byte[] data)
    {
        (uint sequence, uint acknowledge) = _connections.GetValueOrDefault(port, ((uint)random.Next(), 0u));
        byte[] segment = [.. new byte[20], .. options, .. data];
        BinaryPrimitives.WriteUInt16BigEndian(segment, port);
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(4), sequence + (uint)(random.Next(8) == 0 ? random.Next(-2000, 2000) : 0));
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(8), acknowledge + (uint)(random.Next(8) == 0 ? random.Next(-2000, 2000) : 0));
        segment[12] = (byte)((20 + options.Length) << 2);
        segment[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(14), (ushort)(random.Next(4) == 0 ? random.Next(65_536) : 8192));
        if ((flags & Syn) == 0 && _connections.ContainsKey(port))
        {
            _connections[port] = (sequence + (uint)data.Length + (uint)(flags & 1), acknowledge);
        }

        return segment;
    }

    private static byte[] Dhcp(Random random)
    {
        byte[] options = [.. Enumerable.Range(0, random.Next(4)).SelectMany(_ => (byte[])[(byte)random.Next(256), 4, 10, 0, 2, 15])];
        byte[] message = [1, 1, 6, 0, .. new byte[24], .. s_mac, .. new byte[202], 0x63, 0x82, 0x53, 0x63, 53, 1, (byte)random.Next(9), .. options, 255];
        return message;
    }

    private static byte[] ArpRequest() => Ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 1, .. s_mac, .. s_guest4, 0, 0, 0, 0, 0, 0, .. s_gateway4]);

    private static byte[] Datagram(ushort from, ushort to, byte[] data) =>
        [(byte)(from >> 8), (byte)from, (byte)(to >> 8), (byte)to, (byte)((8 + data.Length) >> 8), (byte)(8 + data.Length), 0, 0, .. data];

    private static byte[] V4(byte protocol, byte[] to, byte[] body, ushort fragment = 0) =>
        Ethernet(0x0800, [0x45, 0, (byte)((20 + body.Length) >> 8), (byte)(20 + body.Length), 0, 1, (byte)(fragment >> 8), (byte)fragment, 64, protocol, 0, 0, .. s_guest4, .. to, .. body]);

    private static byte[] V6(byte protocol, byte[] to, byte[] body) =>
        Ethernet(0x86DD, [0x60, 0, 0, 0, (byte)(body.Length >> 8), (byte)body.Length, protocol, 255, .. s_guest6, .. to, .. body]);

    private static byte[] Ethernet(ushort type, byte[] body) => [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, .. s_mac, (byte)(type >> 8), (byte)type, .. body];
}
