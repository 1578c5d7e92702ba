using System.Diagnostics;
using Yadokari.Core.Buses;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>The transport's registers and the disk behind them, driven as a guest does.</summary>
public sealed class VirtioPciTests : IDisposable
{
    private const ulong Ring = 0x1_0000;
    private const ulong Header = 0x10_0000;
    private const ulong Data = 0x11_0000;
    private const ulong Status = 0x12_0000;
    private const ulong Base = 0xD000_0000;
    private const ulong Isr = Base + 0x1000;
    private const ulong Config = Base + 0x2000;
    private const ulong Notify = Base + 0x3000;
    private const ulong Msix = Base + 0x4000;
    private const ulong Version1 = 1ul << 32;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly Bus _mmio = new("mmio");
    private readonly Probe _wire = new();
    private readonly MemoryDisk _disk = new(64 << 10);
    private readonly PciHost _host;
    private readonly VirtioPci _function;
    private int _messages;

    public VirtioPciTests()
    {
        var windows = new PciWindows((0xC000, 0x4000), (Base, 0x1000_0000), (1ul << 36, 1ul << 36));
        _host = new PciHost(new Bus("pio"), _mmio, windows, [.. Enumerable.Repeat(((IInterruptLine)_wire, (byte)10), 4)]);
        _function = new VirtioPci(new VirtioBlock(_disk, 0, 2, "disk"), new Dma(_memory, (_, _) => { }), (_, _) => Interlocked.Increment(ref _messages), packed: true);
        _host.Add(2, _function);
        _host.Assign();
        _host.Ecam.Out32((2 << 15) | 4, 7);
    }

    public void Dispose()
    {
        _function.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void Capabilities_name_the_four_groups()
    {
        var found = new Dictionary<byte, (byte Bar, uint Offset, uint Length)>();
        for (ulong at = Space(0x34); at != 0; at = Space(at + 1))
        {
            if (Space(at) == 9)
            {
                found[Space(at + 3)] = (Space(at + 4), Space32(at + 8), Space32(at + 12));
            }
        }

        Assert.Equal<byte>([1, 2, 3, 4, 5], found.Keys.Order());
        Assert.Equal((0x1042_1AF4u, 0u), (Space32(0), found[1].Offset));
        Assert.Equal((byte)0, found[4].Bar);
        Assert.Equal((0x3000u, 8u, 60u), (found[2].Offset, found[2].Length, found[4].Length));
    }

    [Theory]
    [InlineData(Version1, true)]
    [InlineData(0, false)]
    [InlineData(Version1 | (1ul << 40), false)]
    public void Features_that_were_not_offered_are_refused(ulong features, bool accepted)
    {
        Write(20, 1);
        Write(20, 3);
        Accept(features);
        Assert.Equal(accepted, (Read(20, 1) & 8) != 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_disk_is_read_and_written(bool packed)
    {
        DriverQueue queue = BringUp(packed);
        byte[] sectors = new byte[1024];
        new Random(3).NextBytes(sectors);
        _memory.Write(Data, sectors);
        Assert.Equal((0, 1u), Request(queue, 1, 5, (Data, 1024, false)));
        Assert.Equal(sectors, _disk.Bytes[2560..3584]);
        _memory.Write(Data, new byte[1024]);
        Assert.Equal((0, 1025u), Request(queue, 0, 5, (Data, 700, true), (Data + 700, 324, true)));
        byte[] read = new byte[1024];
        _memory.Read(Data, read);
        Assert.Equal(sectors, read);
        Assert.Equal(0, Request(queue, 4, 0).Status);
        Assert.Equal(1, _disk.Flushes);
        Assert.Equal(0, Request(queue, 8, 0, (Data, 20, true)).Status);
        _memory.Read(Data, read);
        Assert.Equal("disk\0"u8.ToArray(), read[..5]);
    }

    [Theory]
    [InlineData(0u, 128ul, 512u, true, 1)]
    [InlineData(0u, 127ul, 1024u, true, 1)]
    [InlineData(0u, 0ul, 100u, true, 1)]
    [InlineData(1u, ulong.MaxValue, 512u, false, 1)]
    [InlineData(1u, 0x0080_0000_0000_0000ul, 512u, false, 1)]
    [InlineData(99u, 0ul, 512u, true, 2)]
    public void What_is_not_on_the_disk_is_an_error(uint type, ulong sector, uint length, bool writable, int status)
    {
        DriverQueue queue = BringUp(packed: false);
        Assert.Equal(status, Request(queue, type, sector, (Data, length, writable)).Status);
        Assert.DoesNotContain(_disk.Bytes, b => b != 0xEE);
    }

    [Theory]
    [InlineData(11u, 0u, 2u, 0)]
    [InlineData(13u, 0u, 2u, 0)]
    [InlineData(13u, 1u, 2u, 0)]
    [InlineData(11u, 1u, 2u, 2)]
    [InlineData(13u, 2u, 2u, 2)]
    [InlineData(13u, 0u, 200u, 1)]
    public void Ranges_are_discarded_and_zeroed(uint type, uint flags, uint sectors, int status)
    {
        DriverQueue queue = BringUp(packed: false);
        _memory.Write(Data, [.. BitConverter.GetBytes(4ul), .. BitConverter.GetBytes(sectors), .. BitConverter.GetBytes(flags)]);
        Assert.Equal(status, Request(queue, type, 0, (Data, 16, false)).Status);
        Assert.Equal(status == 0 ? 1024 : 0, _disk.Bytes.Count(b => b == 0));
        Assert.All(_disk.Bytes[..2048], b => Assert.Equal(0xEE, b));
    }

    [Fact]
    public void A_hosts_error_is_the_guests()
    {
        DriverQueue queue = BringUp(packed: false);
        _disk.Fails = true;
        Assert.Equal(1, Request(queue, 0, 0, (Data, 512, true)).Status);
        Assert.Equal(1, Request(queue, 1, 0, (Data, 512, false)).Status);
        Assert.Equal(1, Request(queue, 4, 0).Status);
    }

    [Fact]
    public void Without_messages_the_pin_tells_until_it_is_read()
    {
        DriverQueue queue = BringUp(packed: false);
        Request(queue, 4, 0);
        WaitFor(() => _wire.Level);
        Assert.Equal(1, Bytes(Isr, 1)[0]);
        Assert.False(_wire.Level);
        Assert.Equal(0, Bytes(Isr, 1)[0]);
    }

    // The next request may be done just while the reason of the last interrupt is read.
    [Fact]
    public void No_interrupt_of_the_pin_is_lost()
    {
        DriverQueue queue = BringUp(packed: false, size: 64);
        _memory.Write(Header, [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        int sent = 0;
        for (int done = 0; done < 30_000;)
        {
            while (sent < done + 8)
            {
                queue.Add(false, (Header, 16, false), (Status, 1, true));
                sent++;
                Kick();
            }

            WaitFor(() => _wire.Level);
            Bytes(Isr, 1);
            while (queue.Take() is not null)
            {
                done++;
            }
        }
    }

    [Fact]
    public void With_messages_the_queue_has_its_own()
    {
        DriverQueue queue = BringUp(packed: false, messages: true);
        Request(queue, 4, 0);
        WaitFor(() => Volatile.Read(ref _messages) == 1);
        Assert.False(_wire.Level);
    }

    [Fact]
    public void A_reset_ends_what_is_under_way_and_only_then_shows()
    {
        DriverQueue queue = BringUp(packed: false);
        using var gate = new ManualResetEventSlim();
        _disk.Gate = gate;
        Submit(queue, 4, 0);
        WaitFor(() => _disk.Waiting);
        Write(20, 0);
        Assert.NotEqual(0u, Read(20, 1));
        gate.Set();
        WaitFor(() => Read(20, 1) == 0);
        Assert.Equal((0u, 0ul), (Read(28, 2), Read64(32)));
        _disk.Gate = null;
        queue = BringUp(packed: true);
        Assert.Equal(0, Request(queue, 4, 0).Status);
    }

    // A second one must not end the first: queues that are begun meanwhile would lose the threads that serve them.
    [Fact]
    public async Task A_reset_during_a_reset_is_the_same()
    {
        var device = new SlowDevice();
        using var function = new VirtioPci(device, new Dma(_memory, (_, _) => { }), (_, _) => { });
        _host.Add(3, function);
        _host.Assign();
        _host.Ecam.Out32((3 << 15) | 4, 7);
        ulong registers = _host.Ecam.In32((3 << 15) | 0x10) & ~15ul;
        _mmio.Write(registers + 20, [1]);
        Task first = Task.Run(() => _mmio.Write(registers + 20, [0]), TestContext.Current.CancellationToken);
        device.Stopping.Wait(TestContext.Current.CancellationToken);
        _mmio.Write(registers + 20, [0]);
        Assert.NotEqual(0, Bytes(registers + 20, 1)[0]);
        device.MayStop.Set();
        await first;
        Assert.Equal(0, Bytes(registers + 20, 1)[0]);
        Assert.Equal(1, device.Stops);
    }

    // An exception of a worker's reaches the machine, and a reset that waits for the worker is done all the same.
    [Fact]
    public void A_fault_of_a_worker_is_told_and_holds_no_reset_up()
    {
        using var told = new ManualResetEventSlim();
        Exception? error = null;
        using var function = new VirtioPci(new FaultyDevice(), new Dma(_memory, (_, _) => { }), (_, _) => { }, failed: e =>
        {
            error = e;
            told.Set();
        });
        _host.Add(3, function);
        _host.Assign();
        _host.Ecam.Out32((3 << 15) | 4, 7);
        ulong registers = _host.Ecam.In32((3 << 15) | 0x10) & ~15ul;
        void Set(ulong offset, uint value, int length) => _mmio.Write(registers + offset, BitConverter.GetBytes(value)[..length]);
        Set(20, 3, 1);
        Set(8, 1, 4);
        Set(12, 1, 4);
        Set(20, 11, 1);
        Set(32, (uint)Ring, 4);
        Set(40, (uint)Ring + 0x1000, 4);
        Set(48, (uint)Ring + 0x2000, 4);
        Set(28, 1, 2);
        Set(20, 15, 1);
        Assert.True(told.Wait(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken));
        Assert.Equal("a device's", error!.Message);
        Set(20, 0, 1);
        WaitFor(() => Bytes(registers + 20, 1)[0] == 0);
    }

    // After it is disposed of, a driver that goes on reaches no memory of the guest's, which may have been given back.
    [Fact]
    public void A_disposed_function_serves_no_queue()
    {
        BringUp(packed: false);
        _function.Dispose();
        Write(20, 3);
        Accept(Version1);
        Write64(32, Ring);
        Write16(28, 1);
        Write(20, 15);
        Assert.Equal(0u, Read(20, 1) & 4);
        Kick();
    }

    [Fact]
    public void A_broken_queue_asks_for_a_reset()
    {
        DriverQueue queue = BringUp(packed: false);
        queue.Add(false, (ulong.MaxValue - 100, 16, false));
        Kick();
        WaitFor(() => (Read(20, 1) & 0x40) != 0);
        queue = BringUp(packed: false);
        Assert.Equal(0, Request(queue, 4, 0).Status);
    }

    [Fact]
    public void The_window_in_configuration_space_reaches_the_registers()
    {
        ulong window = 0;
        for (ulong at = Space(0x34); at != 0; at = Space(at + 1))
        {
            window = Space(at) == 9 && Space(at + 3) == 5 ? at : window;
        }

        _host.Ecam.Out32((2 << 15) | (window + 8), 0x2000);
        _host.Ecam.Out32((2 << 15) | (window + 12), 4);
        Assert.Equal(128u, Space32(window + 16));
        _host.Ecam.Out32((2 << 15) | (window + 8), 20);
        _host.Ecam.Out32((2 << 15) | (window + 12), 1);
        _host.Ecam.Out((2 << 15) | (window + 16), 3);
        Assert.Equal(3u, Read(20, 1));
    }

    private DriverQueue BringUp(bool packed, bool messages = false, int size = 16)
    {
        Write(20, 0);
        WaitFor(() => Read(20, 1) == 0);
        Write(20, 3);
        Accept(Version1 | (1ul << 28) | (packed ? 1ul << 34 : 0));
        var queue = new DriverQueue(_memory, Ring, size, packed);
        Write16(22, 0);
        Write16(24, (ushort)size);
        if (messages)
        {
            _mmio.Write(Msix + 16 + 12, [0, 0, 0, 0]);
            _function.Write(Capability(0x11) + 2, [0, 0x80]);
            Write16(26, 1);
            Assert.Equal(1u, Read(26, 2));
        }

        Write64(32, queue.Addresses.Descriptors);
        Write64(40, queue.Addresses.Driver);
        Write64(48, queue.Addresses.Device);
        Write16(28, 1);
        Write(20, 15);
        Assert.Equal(15u, Read(20, 1) & 15);
        return queue;
    }

    private void Accept(ulong features)
    {
        _mmio.Write(Base + 8, BitConverter.GetBytes(0));
        _mmio.Write(Base + 12, BitConverter.GetBytes((uint)features));
        _mmio.Write(Base + 8, BitConverter.GetBytes(1));
        _mmio.Write(Base + 12, BitConverter.GetBytes((uint)(features >> 32)));
        Write(20, 11);
    }

    private void Submit(DriverQueue queue, uint type, ulong sector, params (ulong, uint, bool)[] data)
    {
        _memory.Write(Header, [.. BitConverter.GetBytes(type), 0, 0, 0, 0, .. BitConverter.GetBytes(sector)]);
        _memory.Write(Status, [0xAA]);
        queue.Add(false, [(Header, 16, false), .. data, (Status, 1, true)]);
        Kick();
    }

    private (int Status, uint Written) Request(DriverQueue queue, uint type, ulong sector, params (ulong, uint, bool)[] data)
    {
        Submit(queue, type, sector, data);
        (ushort Id, uint Written)? done = null;
        WaitFor(() => (done = queue.Take()) is not null);
        byte[] status = new byte[1];
        _memory.Read(Status, status);
        return (status[0], done!.Value.Written);
    }

    private static void WaitFor(Func<bool> what)
    {
        long start = Stopwatch.GetTimestamp();
        while (!what())
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromMinutes(1), "Nothing came within a minute.");
            Thread.Yield();
        }
    }

    private void Kick() => _mmio.Write(Notify, [0, 0]);

    private byte[] Bytes(ulong address, int length)
    {
        byte[] data = new byte[length];
        _mmio.Read(address, data);
        return data;
    }

    private uint Read(ulong offset, int length) => BitConverter.ToUInt32([.. Bytes(Base + offset, length), 0, 0, 0]);

    private ulong Read64(ulong offset) => BitConverter.ToUInt64(Bytes(Base + offset, 8));

    private void Write(ulong offset, byte value) => _mmio.Write(Base + offset, [value]);

    private void Write16(ulong offset, ushort value) => _mmio.Write(Base + offset, BitConverter.GetBytes(value));

    private void Write64(ulong offset, ulong value)
    {
        _mmio.Write(Base + offset, BitConverter.GetBytes((uint)value));
        _mmio.Write(Base + offset + 4, BitConverter.GetBytes((uint)(value >> 32)));
    }

    private byte Space(ulong offset) => _host.Ecam.In((2 << 15) | offset);

    private uint Space32(ulong offset) => _host.Ecam.In32((2 << 15) | offset);

    private int Capability(byte id)
    {
        int at = Space(0x34);
        while (Space((ulong)at) != id)
        {
            at = Space((ulong)at + 1);
        }

        return at;
    }

    private sealed class SlowDevice : VirtioDevice
    {
        public ManualResetEventSlim Stopping { get; } = new();

        public ManualResetEventSlim MayStop { get; } = new();

        public int Stops { get; private set; }

        public override string Name => "slow";

        public override ushort Type => 4;

        public override IReadOnlyList<ushort> QueueSizes { get; } = [16];

        public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned) => true;

        public override void Stop()
        {
            Stops++;
            Stopping.Set();
            MayStop.Wait();
        }
    }

    private sealed class FaultyDevice : VirtioDevice
    {
        public override string Name => "faulty";

        public override ushort Type => 4;

        public override IReadOnlyList<ushort> QueueSizes { get; } = [16];

        public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned) => throw new InvalidOperationException("a device's");
    }

    private sealed class MemoryDisk(int length) : IDisk
    {
        public byte[] Bytes { get; } = [.. Enumerable.Repeat((byte)0xEE, length)];

        public int Flushes { get; private set; }

        public bool Fails { get; set; }

        public ManualResetEventSlim? Gate { get; set; }

        public volatile bool Waiting;

        public string Path => "memory";

        public long Length => Bytes.Length;

        public bool ReadOnly => false;

        public bool TryRead(long offset, Span<byte> data)
        {
            Bytes.AsSpan((int)offset, data.Length).CopyTo(data);
            return !Fails;
        }

        public bool TryWrite(long offset, ReadOnlySpan<byte> data)
        {
            data.CopyTo(Bytes.AsSpan((int)offset));
            return !Fails;
        }

        public bool TryFlush()
        {
            Waiting = true;
            Gate?.Wait();
            Waiting = false;
            Flushes++;
            return !Fails;
        }

        public bool TryDiscard(long offset, long length)
        {
            Bytes.AsSpan((int)offset, (int)length).Clear();
            return true;
        }

        public bool TryWriteZeroes(long offset, long length, bool mayDiscard) => TryDiscard(offset, length);

        public void Dispose()
        {
        }
    }
}
