using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Yadokari.Core.Memory;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;
using Yadokari.Networks.Streams;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>A console and ports by name, with a driver written from the specification alone.</summary>
public sealed class ConsoleTests : IDisposable
{
    private const ulong Rings = 0x1_0000;
    private const ulong RingSize = 0x1_0000;
    private const ulong Buffers = 0x20_0000;
    private const uint BufferSize = 0x1000;
    private const int Size = 8;
    private const ulong SeveralPorts = 2;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly Dma _dma;
    private readonly List<(DriverQueue Driver, Virtqueue Device, DescriptorChain Chain)> _queues = [];

    public ConsoleTests() => _dma = new Dma(_memory, (_, _) => { });

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_console_carries_bytes_both_ways()
    {
        var host = new FakeHost();
        using VirtioConsole device = Start(VirtioConsole.Console(host), 0);
        Post(0);
        Assert.False(Process(device, 0)); // It is the host's turn.
        host.Typed.Append("ls\r");
        Process(device, 0);
        Assert.Equal("ls\r", Received(0));
        Send(device, 1, "total 0\n");
        Assert.Equal("total 0\n", host.Taken.ToString());

        // More than a buffer holds waits for the next one, in order.
        host.Typed.Append(new string('a', (int)BufferSize)).Append("bc");
        Post(0);
        Assert.True(Process(device, 0)); // Now the driver's.
        Assert.Equal(new string('a', (int)BufferSize), Received(0));
        Post(0);
        Process(device, 0);
        Assert.Equal("bc", Received(0));
    }

    [Fact]
    public void A_guest_waits_for_a_host_that_has_no_room()
    {
        var host = new FakeHost { Room = 3 };
        using VirtioConsole device = Start(VirtioConsole.Console(host), 0);
        Send(device, 1, "hello");
        Assert.Null(_queues[1].Driver.Take());
        Assert.Equal("hel", host.Taken.ToString());
        host.Room = 100;
        Assert.True(Process(device, 1));
        Assert.NotNull(_queues[1].Driver.Take());
        Assert.Equal("hello", host.Taken.ToString());

        // What is held when the driver resets the device is gone.
        host.Room = 1;
        Send(device, 1, "xyz");
        device.Stop();
        host.Room = 100;
        Assert.True(Process(device, 1));
        Assert.Equal("hellox", host.Taken.ToString());
    }

    [Fact]
    public void The_guest_hears_of_the_size()
    {
        using VirtioConsole device = Start(VirtioConsole.Console(new FakeHost()), 0);
        int changes = 0;
        device.ConfigChanged = () => changes++;
        device.Resize(25, 80);
        Assert.Equal(1, changes);
        byte[] config = new byte[device.ConfigSize];
        device.ReadConfig(0, config);
        Assert.Equal([80, 0, 25, 0, 1, 0, 0, 0], config[..8]);
        Assert.Equal(1ul, device.Features & 3);

        // Once more for a driver that begins.
        Process(device, 0);
        Process(device, 0);
        Assert.Equal(2, changes);
        device.Stop();
        Process(device, 0);
        Assert.Equal(3, changes);
    }

    [Fact]
    public void A_driver_without_queues_may_write_a_character()
    {
        var host = new FakeHost();
        using VirtioConsole device = VirtioConsole.Console(host);
        device.WriteConfig(8, [(byte)'!', 0, 0, 0]);
        device.WriteConfig(0, [1, 2, 3, 4]);
        Assert.Equal("!", host.Taken.ToString());
    }

    [Fact]
    public void Ports_have_names_and_know_whether_somebody_is_there()
    {
        FakeHost[] hosts = [new FakeHost { IsConnected = false }, new FakeHost()];
        using VirtioConsole device = Start(VirtioConsole.Ports([("one", hosts[0]), ("org.two", hosts[1])]), SeveralPorts);
        Assert.Equal(6, device.QueueSizes.Count);
        Assert.Equal(SeveralPorts, device.Features & 3);
        for (int i = 0; i < Size - 1; i++)
        {
            Post(2);
        }

        Control(device, 0xFFFF_FFFF, 0, 1);
        Assert.Equal([(0u, 1, 1, ""), (1u, 1, 1, "")], Messages());
        Control(device, 0, 3, 1);
        Control(device, 1, 3, 1);
        Assert.Equal([(0u, 7, 1, "one"), (1u, 7, 1, "org.two"), (1u, 6, 1, "")], Messages());

        // Bytes wait for a guest that has not opened the port.
        Post(4);
        hosts[1].Typed.Append("hi");
        Assert.False(Process(device, 4));
        Assert.Null(_queues[4].Driver.Take());
        Control(device, 1, 6, 1);
        Process(device, 4);
        Assert.Equal("hi", Received(4));
        Send(device, 5, "to two");
        Send(device, 1, "to one");
        Assert.Equal(("to one", "to two"), (hosts[0].Taken.ToString(), hosts[1].Taken.ToString()));

        // Somebody comes, somebody goes.
        hosts[0].IsConnected = true;
        hosts[0].Ready!();
        hosts[1].IsConnected = false;
        hosts[1].Ready!();
        hosts[1].Ready!();
        Process(device, 2);
        Assert.Equal([(0u, 6, 1, ""), (1u, 6, 0, "")], Messages());

        // What makes no sense changes nothing, and more messages than there is room for are not piled up.
        for (int i = 0; i < 1000; i++)
        {
            Control(device, 77, 3, 1);
            Control(device, 0, 99, 1);
            Control(device, 0xFFFF_FFFF, 0, 1);
        }

        Assert.Empty(Messages());
        for (int i = 0; i < 3; i++)
        {
            Post(2);
        }

        Process(device, 2);
        Assert.Equal(2, Messages().Count);
    }

    [Fact]
    public void A_socket_leads_to_a_port()
    {
        string path = Path.Combine(Path.GetTempPath(), $"yadokari-{Guid.NewGuid():n}");
        using var ready = new AutoResetEvent(false);
        using (var port = new SocketPort(path))
        {
            port.Ready = () => ready.Set();
            Assert.False(port.IsConnected);
            Assert.Equal(4, port.Write("gone"u8));
            Socket first = Connect(path);
            Until(() => port.IsConnected);
            first.Send("hello"u8);
            byte[] data = new byte[10];
            int count = 0;
            Until(() => (count = port.Read(data)) > 0);
            Assert.Equal("hello"u8.ToArray(), data[..count]);
            Assert.Equal(3, port.Write("you"u8));
            Assert.Equal(3, first.Receive(data));

            // One at a time: the second is heard once the first has gone, and what that one sent was read.
            using Socket second = Connect(path);
            second.Send("second"u8);
            Until(() => port.Read(data) == 0);
            first.Dispose();
            Until(() => (count = port.Read(data)) > 0);
            Assert.Equal("second"u8.ToArray(), data[..count]);

            // One who does not read makes the port full, not the monitor.
            int sent = 0;
            for (int taken; (taken = port.Write(new byte[4096])) > 0;)
            {
                sent += taken;
                Assert.InRange(sent, 0, 16 << 20);
            }

            ready.Reset();
            byte[] all = new byte[sent];
            for (int at = 0; at < sent;)
            {
                at += second.Receive(all.AsSpan(at));
            }

            Assert.True(ready.WaitOne(TimeSpan.FromMinutes(1)));
            Assert.Equal(1, port.Write([1]));
        }

        Assert.False(File.Exists(path));
    }

    private static void Until(Func<bool> isSo) => Assert.True(SpinWait.SpinUntil(isSo, TimeSpan.FromMinutes(1)));

    private static Socket Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private VirtioConsole Start(VirtioConsole device, ulong accepted)
    {
        device.Accepted = accepted;
        for (int i = 0; i < device.QueueSizes.Count; i++)
        {
            var driver = new DriverQueue(_memory, Rings + ((ulong)i * RingSize), Size, packed: false);
            _queues.Add((driver, Virtqueue.Create(_dma, driver.Addresses, Size, 0)!, new DescriptorChain(_dma)));
        }

        return device;
    }

    private bool Process(VirtioConsole device, int number) => device.Process(number, _queues[number].Device, _queues[number].Chain, () => { });

    private static ulong Buffer(int number, int slot) => Buffers + ((ulong)((number * Size) + slot) * BufferSize);

    private void Post(int number, int slot = -1)
    {
        slot = slot < 0 ? _posted.GetValueOrDefault(number) : slot;
        _posted[number] = (slot + 1) % Size;
        _queues[number].Driver.Add(false, (Buffer(number, slot), BufferSize, true));
    }

    private readonly Dictionary<int, int> _posted = [];

    private string Received(int number)
    {
        (ushort id, uint written) = _queues[number].Driver.Take() ?? throw new InvalidOperationException("Nothing came.");
        byte[] data = new byte[written];
        _memory.Read(Buffer(number, id), data);
        return Encoding.UTF8.GetString(data);
    }

    private void Send(VirtioConsole device, int number, string text)
    {
        _memory.Write(Buffer(number, 0), Encoding.UTF8.GetBytes(text));
        _queues[number].Driver.Add(false, (Buffer(number, 0), (uint)text.Length, false));
        Process(device, number);
    }

    private void Control(VirtioConsole device, uint port, ushort what, ushort value)
    {
        byte[] message = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(message, port);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), what);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), value);
        _memory.Write(Buffer(3, 0), message);
        _queues[3].Driver.Add(false, (Buffer(3, 0), 8, false));
        Assert.True(Process(device, 3));
        Assert.NotNull(_queues[3].Driver.Take());
        Process(device, 2);
    }

    private List<(uint Port, int What, int Value, string Text)> Messages()
    {
        List<(uint, int, int, string)> messages = [];
        while (_queues[2].Driver.Take() is var (id, written))
        {
            byte[] data = new byte[written];
            _memory.Read(Buffer(2, id), data);
            messages.Add((BinaryPrimitives.ReadUInt32LittleEndian(data), BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(4)), BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(6)), Encoding.UTF8.GetString(data.AsSpan(8))));
        }

        return messages;
    }

    private sealed class FakeHost : IPortHost
    {
        public StringBuilder Typed { get; } = new();

        public StringBuilder Taken { get; } = new();

        public int Room { get; set; } = 1 << 20;

        public Action? Ready { get; set; }

        public bool IsConnected { get; set; } = true;

        public int Read(Span<byte> data)
        {
            int count = Math.Min(data.Length, Typed.Length);
            Encoding.UTF8.GetBytes(Typed.ToString(0, count), data);
            Typed.Remove(0, count);
            return count;
        }

        public int Write(ReadOnlySpan<byte> data)
        {
            int count = Math.Min(data.Length, Room);
            Room -= count;
            Taken.Append(Encoding.UTF8.GetString(data[..count]));
            return count;
        }

        public void Dispose()
        {
        }
    }
}
