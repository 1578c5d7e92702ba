using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;
using Yadokari.Networks.Streams;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>Streams between guests and programs of the host's that come, talk and go as they like.</summary>
internal sealed class VsockTarget : Target
{
    private const int Cid = 7;
    private const int HeaderSize = 44;
    private const int MostSockets = 16;
    private const uint WorkPort = 9;
    private static readonly string[] s_operations = ["nothing", "request", "response", "reset", "shutdown", "data", "credit update", "credit request"];

    private readonly string _path;
    private readonly Socket[] _listeners;
    private readonly List<Socket> _sockets = [];
    private readonly List<(uint GuestPort, uint HostPort)> _known = [(1000, 1), (1000, 2), (1001, 1)];

    public VsockTarget(string folder)
    {
        _path = Path.Combine(folder, "vsock");
        Device = new VirtioVsock(Behind(new SocketStreams(_path)), Cid);
        _listeners = [Listen(1), Listen(2), Listen(WorkPort)];
    }

    public override VirtioDevice Device { get; }

    public override bool Answers(int queue) => queue == 1;

    public override Request Make(Random random, int queue)
    {
        if (queue != 1)
        {
            return new Request([], random.Next(4) == 0 ? random.Next(100) : random.Next(4096));
        }

        byte[] data = new byte[random.Next(2) == 0 ? random.Next(3000) : 0];
        (uint guestPort, uint hostPort) = random.Next(4) == 0 ? ((uint)random.Next(998, 1003), (uint)random.Next(4)) : _known[random.Next(_known.Count)];
        int operation = data.Length > 0 && random.Next(4) != 0 ? 5 : random.Next(9);
        return new Request(Mutate(random, Packet(guestPort, hostPort, operation, data, random.Next(5), random.Next(3) == 0 ? random.Next() : 4000)), 0);
    }

    public override string Judge(int queue, byte[] reply, uint written)
    {
        if (queue != 0 || written < HeaderSize)
        {
            return queue == 1 ? "sent" : "empty";
        }

        int operation = BinaryPrimitives.ReadUInt16LittleEndian(reply.AsSpan(30));
        if (operation == 1 && _known.Count < 100)
        {
            // A program of the host's wants to be connected: answers to it make sense.
            _known.Add((BinaryPrimitives.ReadUInt32LittleEndian(reply.AsSpan(20)), BinaryPrimitives.ReadUInt32LittleEndian(reply.AsSpan(16))));
        }

        return s_operations[operation];
    }

    public override void Outside(Random random)
    {
        foreach (Socket listener in _listeners)
        {
            while (listener.Poll(0, SelectMode.SelectRead))
            {
                Add(listener.Accept());
            }
        }

        if (random.Next(3) == 0)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            Add(socket);
            socket.Connect(new UnixDomainSocketEndPoint(_path));
            socket.Send(Encoding.ASCII.GetBytes(random.Next(8) == 0 ? "CONNECT me to something far away, please\n" : $"CONNECT {random.Next(998, 1003)}\n"));
        }

        for (int i = random.Next(4); i > 0 && _sockets.Count > 0; i--)
        {
            Socket socket = _sockets[random.Next(_sockets.Count)];
            try
            {
                switch (random.Next(8))
                {
                    case 0:
                        socket.Shutdown(SocketShutdown.Send);
                        break;
                    case 1:
                        socket.Dispose();
                        _sockets.Remove(socket);
                        break;
                    case < 5:
                        socket.Receive(new byte[10_000]);
                        break;
                    default:
                        socket.Send(new byte[random.Next(10_000)]);
                        break;
                }
            }
            catch (SocketException)
            {
                // There is nothing, or nobody.
            }
        }
    }

    public override void Work(Driver driver, Random random)
    {
        foreach (int operation in (int[])[1, 5])
        {
            driver.Ask(1, Packet(5000, WorkPort, operation, operation == 5 ? [1, 2, 3] : [], 0, 4000), 0);
        }

        using Socket socket = Accept();
        byte[] data = new byte[3];
        Assert.Equal(3, socket.Receive(data));
        Assert.Equal([1, 2, 3], data);
        socket.Send(data);
        for (int operation = 0; operation != 5;)
        {
            Assert.True(driver.Waiting(0) > 0 || driver.TrySubmit(0, new Request([], 100)));
            byte[] packet = [];
            Slot.WaitFor(() => driver.TryTake(0, out packet, out _), "a packet");
            bool mine = BinaryPrimitives.ReadUInt32LittleEndian(packet.AsSpan(20)) == 5000;
            operation = mine ? BinaryPrimitives.ReadUInt16LittleEndian(packet.AsSpan(30)) : 0;
            Assert.NotEqual(3, operation);
        }
    }

    public override void Check(GuardedMemory ram)
    {
        _sockets.ForEach(socket => socket.Dispose());
        Array.ForEach(_listeners, socket => socket.Dispose());
        Assert.False(File.Exists(_path));
    }

    // Wild guests may have connected too: they are gone, and say nothing.
    private Socket Accept()
    {
        while (true)
        {
            Socket socket = _listeners[^1].Accept();
            if (socket.Poll(-1, SelectMode.SelectRead) && socket.Available == 3)
            {
                return socket;
            }

            socket.Dispose();
        }
    }

    private void Add(Socket socket)
    {
        socket.Blocking = false;
        _sockets.Add(socket);
        if (_sockets.Count > MostSockets)
        {
            _sockets[0].Dispose();
            _sockets.RemoveAt(0);
        }
    }

    private Socket Listen(uint port)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint($"{_path}_{port}"));
        socket.Listen(100);
        return socket;
    }

    private static byte[] Packet(uint guestPort, uint hostPort, int operation, byte[] data, int flags, int room)
    {
        byte[] packet = [.. new byte[HeaderSize], .. data];
        BinaryPrimitives.WriteUInt64LittleEndian(packet, Cid);
        BinaryPrimitives.WriteUInt64LittleEndian(packet.AsSpan(8), 2);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(16), guestPort);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(20), hostPort);
        BinaryPrimitives.WriteInt32LittleEndian(packet.AsSpan(24), data.Length);
        packet[28] = 1;
        packet[30] = (byte)operation;
        BinaryPrimitives.WriteInt32LittleEndian(packet.AsSpan(32), flags);
        BinaryPrimitives.WriteInt32LittleEndian(packet.AsSpan(36), room);
        return packet;
    }
}
