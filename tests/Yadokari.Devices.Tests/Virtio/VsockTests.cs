using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;
using Yadokari.Networks.Streams;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>Streams between a driver, written from the specification alone, and programs at the host's sockets.</summary>
public sealed class VsockTests : IDisposable
{
    private const ulong ReceiveRing = 0x1_0000;
    private const ulong TransmitRing = 0x2_0000;
    private const ulong Buffers = 0x10_0000;
    private const ulong Sent = 0x30_0000;
    private const int BufferSize = 0x1000;
    private const int Size = 16;
    private const uint Cid = 33;

    // 5.10.6
    private const int Request = 1;
    private const int Response = 2;
    private const int Reset = 3;
    private const int Shutdown = 4;
    private const int Data = 5;
    private const int CreditUpdate = 6;
    private const int CreditRequest = 7;

    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-vsock-").FullName;
    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly VirtioVsock _device;
    private readonly Dma _dma;
    private readonly DriverQueue _receive;
    private readonly DriverQueue _transmit;
    private readonly Virtqueue _receiveQueue;
    private readonly Virtqueue _transmitQueue;
    private readonly SocketStreams _host;
    private readonly DescriptorChain _chain;
    private readonly Dictionary<ushort, int> _slots = [];
    private readonly Queue<Packet> _arrived = new();

    public VsockTests()
    {
        _host = new SocketStreams(Name);
        _device = new VirtioVsock(_host, Cid);
        _dma = new Dma(_memory, (_, _) => { });
        _chain = new DescriptorChain(_dma);
        _receive = new DriverQueue(_memory, ReceiveRing, Size, packed: false);
        _transmit = new DriverQueue(_memory, TransmitRing, Size, packed: false);
        _receiveQueue = Virtqueue.Create(_dma, _receive.Addresses, Size, 0)!;
        _transmitQueue = Virtqueue.Create(_dma, _transmit.Addresses, Size, 0)!;
        for (int i = 0; i < Size; i++)
        {
            Post(i);
        }
    }

    private string Name => Path.Combine(_folder, "socket");

    public void Dispose()
    {
        _device.Dispose();
        _host.Dispose();
        Assert.Empty(Directory.GetFiles(_folder, "socket"));
        _memory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private readonly record struct Packet(uint HostPort, uint GuestPort, int Operation, uint Flags, uint BufferSize, uint ForwardedCount, byte[] Data);

    [Fact]
    public void The_guest_connects_to_the_host()
    {
        using Socket listener = Listen(5000);
        Send(1234, 5000, Request);
        Assert.Equal(Response, Next().Operation);
        using Socket socket = listener.Accept();
        Send(1234, 5000, Data, "hello"u8.ToArray());
        Assert.Equal("hello", Receive(socket, 5));
        socket.Send("good day"u8);
        Packet packet = Next();
        Assert.Equal((5000u, 1234u, Data, 5u), (packet.HostPort, packet.GuestPort, packet.Operation, packet.ForwardedCount));
        Assert.Equal("good day"u8.ToArray(), packet.Data);
        Send(1234, 5000, CreditRequest);
        Assert.Equal(CreditUpdate, Next().Operation);

        // The guest ends: the host's program sees the end, and the guest that it is over.
        Send(1234, 5000, Shutdown, flags: 2);
        Assert.Equal(0, socket.Receive(new byte[1]));
        socket.Send("more"u8);
        Assert.Equal("more"u8.ToArray(), Next().Data);
        Send(1234, 5000, Shutdown, flags: 3);
        Assert.Equal(Reset, Next().Operation);

        // That may take a moment: the thread that waits for the socket can hold it while it is closed, in the kernel (epoll_wait(2)).
        socket.SendTimeout = 60_000;
        Action sendOn = () =>
        {
            while (true)
            {
                socket.Send([1]);
            }
        };
        SocketException over = Assert.ThrowsAny<SocketException>(sendOn);
        Assert.NotEqual(SocketError.TimedOut, over.SocketErrorCode);
    }

    [Fact]
    public void The_host_connects_to_the_guest()
    {
        using Socket socket = Connect("CONNECT 1024\nat once");
        Packet packet = Next();
        Assert.Equal((1024u, Request), (packet.GuestPort, packet.Operation));
        Send(1024, packet.HostPort, Response);
        Assert.Equal($"OK {packet.HostPort}\n", Receive(socket, $"OK {packet.HostPort}\n".Length));
        Assert.Equal("at once"u8.ToArray(), Next().Data);
        socket.Shutdown(SocketShutdown.Send);
        packet = Next();
        Assert.Equal((Shutdown, 2u), (packet.Operation, packet.Flags));
        Send(1024, packet.HostPort, Data, "answer"u8.ToArray());
        Assert.Equal("answer", Receive(socket, 6));
        socket.Dispose();
        packet = Next();
        Assert.Equal((Shutdown, 3u), (packet.Operation, packet.Flags));
        Send(1024, packet.HostPort, Reset);
        Send(1024, packet.HostPort, Data, [1]);
        Assert.Equal(Reset, Next().Operation);
    }

    [Theory]
    [InlineData("CONNECT x\n")]
    [InlineData("CONNECT 4294967296\n")]
    [InlineData("GET / HTTP/1.0\n")]
    [InlineData("CONNECT 1                       ")]
    public void Who_asks_for_no_port_is_sent_away(string line)
    {
        using Socket socket = Connect(line);
        Assert.Equal("", Receive(socket, 1));
    }

    [Fact]
    public void Who_is_refused_is_sent_away()
    {
        Send(1, 5000, Request);
        Assert.Equal(Reset, Next().Operation);
        using Socket socket = Connect("CONNECT 77\n");
        Packet packet = Next();
        Send(77, packet.HostPort, Reset);
        Assert.Equal("", Receive(socket, 1));
    }

    [Fact]
    public void Misuse_ends_the_connection()
    {
        using Socket listener = Listen(1);
        Send(5, 1, Data, [1]);
        Assert.Equal(Reset, Next().Operation);
        Send(5, 1, Request, type: 2);
        Assert.Equal(Reset, Next().Operation);
        foreach (int operation in new[] { 0, 99, Request, Response })
        {
            Open(5, 1);
            Send(5, 1, operation);
            Assert.Equal(Reset, Next().Operation);
        }

        Open(5, 1);
        Send(5, 1, Shutdown, flags: 2);
        Send(5, 1, Data, [1]);
        Assert.Equal(Reset, Next().Operation);

        // Of a machine that is not the host, and from one that is not this guest.
        Send(5, 1, Request, to: 7);
        Send(5, 1, Request, from: Cid + 1);
        Open(5, 1);
    }

    [Fact]
    public void Neither_side_sends_more_than_the_other_has_room_for()
    {
        using Socket listener = Listen(1);
        Send(5, 1, Request, room: 10);
        uint room = Next().BufferSize;
        using Socket socket = listener.Accept();
        socket.Send(new byte[25]);
        Assert.Equal(10, Next().Data.Length);
        Send(5, 1, CreditUpdate, room: 10, taken: 10);
        Assert.Equal(10, Next().Data.Length);
        Send(5, 1, CreditUpdate, room: 0, taken: 0); // Less than was promised.
        Send(5, 1, CreditUpdate, room: 10, taken: 20);
        Assert.Equal(5, Next().Data.Length);

        // A host's program that does not read: what comes is kept, then refused.
        byte[] piece = [.. Enumerable.Range(0, BufferSize - 44).Select(i => (byte)i)];
        uint sent = 0;
        uint taken = 0;
        while (sent - taken + piece.Length <= room && sent < 64 << 20)
        {
            Send(5, 1, Data, piece, room: 10, taken: 25);
            sent += (uint)piece.Length;
            while (TryNext(out Packet told))
            {
                Assert.Equal(CreditUpdate, told.Operation);
                taken = told.ForwardedCount;
            }
        }

        Assert.InRange(sent, room, 16u << 20);

        // It reads again: everything comes, and the guest hears of the room.
        byte[] all = new byte[sent];
        for (int at = 0; at < all.Length;)
        {
            at += socket.Receive(all.AsSpan(at));
        }

        for (int i = 0; i < all.Length; i++)
        {
            Assert.Equal(piece[i % piece.Length], all[i]);
        }

        while (sent - taken >= room / 2)
        {
            taken = Next().ForwardedCount;
        }

        Send(5, 1, Data, new byte[1], room: 10, taken: 25);
        Assert.Equal(1, socket.Receive(new byte[9]));

        // One who takes no account of room.
        for (uint more = 0; more <= room + (1 << 20); more += (uint)piece.Length)
        {
            Send(5, 1, Data, piece, room: 10, taken: 25);
        }

        int operation;
        do
        {
            operation = Next().Operation;
        }
        while (operation == CreditUpdate);

        Assert.Equal(Reset, operation);
    }

    [Fact]
    public void A_reset_of_the_device_ends_all()
    {
        using Socket listener = Listen(1);
        Open(5, 1);
        using Socket socket = listener.Accept();
        _device.Stop();
        Assert.Equal(0, socket.Receive(new byte[1]));
    }

    [Fact]
    public void A_socket_that_is_in_use_is_refused_and_one_left_behind_is_not()
    {
        Assert.Contains(Name, Assert.ThrowsAny<UserErrorException>(() => new SocketStreams(Name)).Message, StringComparison.Ordinal);
        string other = Path.Combine(_folder, "other");
        File.WriteAllText(other, "a file");
        Assert.Contains(other, Assert.ThrowsAny<UserErrorException>(() => new SocketStreams(other)).Message, StringComparison.Ordinal);
        Assert.Equal("a file", File.ReadAllText(other));
        string left = Path.Combine(_folder, "left");
        using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            File.Delete(other);
            socket.Bind(new UnixDomainSocketEndPoint(other));
            File.Move(other, left); // .NET takes the name away with the socket; one who is killed does not.
        }

        new SocketStreams(left).Dispose();
        Assert.ThrowsAny<UserErrorException>(() => new SocketStreams(Path.Combine(_folder, new string('x', 200))));
        Assert.ThrowsAny<UserErrorException>(() => new SocketStreams(Path.Combine(_folder, "missing", "socket")));
    }

    private void Open(uint guestPort, uint hostPort)
    {
        Send(guestPort, hostPort, Request);
        Assert.Equal(Response, Next().Operation);
    }

    private void Send(uint guestPort, uint hostPort, int operation, byte[]? data = null, uint flags = 0, uint room = 1 << 20, uint taken = 0, int type = 1, ulong from = Cid, ulong to = 2, uint? length = null)
    {
        byte[] packet = new byte[44 + (data?.Length ?? 0)];
        BinaryPrimitives.WriteUInt64LittleEndian(packet, from);
        BinaryPrimitives.WriteUInt64LittleEndian(packet.AsSpan(8), to);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(16), guestPort);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(20), hostPort);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(24), length ?? (uint)(data?.Length ?? 0));
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(28), (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(30), (ushort)operation);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(32), flags);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(36), room);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(40), taken);
        data?.CopyTo(packet, 44);
        _memory.Write(Sent, packet);
        _transmit.Add(false, (Sent, 44, false), (Sent + 44, (uint)(data?.Length ?? 0), false));
        Assert.True(_device.Process(1, _transmitQueue, _chain, () => { }));
        Assert.NotNull(_transmit.Take());
    }

    // What comes from the host's sockets comes in its own time.
    private Packet Next()
    {
        Packet packet = default;
        Assert.True(SpinWait.SpinUntil(() => TryNext(out packet), TimeSpan.FromSeconds(30)), "No packet came.");
        return packet;
    }

    private bool TryNext(out Packet packet)
    {
        _device.Process(0, _receiveQueue, _chain, () => { });
        while (_receive.Take() is var (id, written))
        {
            int slot = _slots[id];
            byte[] bytes = new byte[written];
            _memory.Read(Buffers + ((ulong)slot * BufferSize), bytes);
            Assert.Equal((2ul, (ulong)Cid), (BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8))));
            Assert.Equal((uint)bytes.Length - 44, BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(24)));
            uint Number(int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));
            _arrived.Enqueue(new Packet(Number(16), Number(20), BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(30)), Number(32), Number(36), Number(40), bytes[44..]));
            Post(slot);
        }

        return _arrived.TryDequeue(out packet);
    }

    private void Post(int slot) => _slots[_receive.Add(false, (Buffers + ((ulong)slot * BufferSize), BufferSize, true))] = slot;

    private Socket Listen(int port)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint($"{Name}_{port}"));
        socket.Listen(100);
        return socket;
    }

    private Socket Connect(string line)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(Name));
        socket.Send(Encoding.ASCII.GetBytes(line));
        return socket;
    }

    private static string Receive(Socket socket, int length)
    {
        byte[] data = new byte[length];
        int at = 0;
        for (int read; at < length && (read = socket.Receive(data.AsSpan(at))) > 0;)
        {
            at += read;
        }

        return Encoding.ASCII.GetString(data, 0, at);
    }
}
