using System.Diagnostics;
using Yadokari.Core.Buses;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Virtio;
using Yadokari.Disks;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>A disk with many requests in flight, behind PCI as a guest sees it.</summary>
public sealed class BlockTests : IDisposable
{
    private const ulong Ring = 0x1_0000;
    private const ulong Slots = 0x20_0000; // Each has a header, the status behind it, and data.
    private const int SlotSize = 0x4000;
    private const int DataOffset = 0x1000;
    private const ulong Base = 0xD000_0000;
    private const ulong Notify = Base + 0x3000;
    private const int Size = 256;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 16 << 20)]);
    private readonly List<(ulong Gpa, ulong Length)> _written = [];
    private readonly Bus _mmio = new("mmio");
    private readonly Dictionary<ushort, int> _slots = [];
    private HeldDisk? _held;
    private VirtioPci? _function;
    private DriverQueue? _queue;
    private int _messages;

    public void Dispose()
    {
        _held?.EndAll();
        _function?.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Requests_go_back_in_the_order_in_which_they_end(bool packed, bool indirect)
    {
        HeldDisk disk = Start(new HeldDisk(1 << 20), packed);
        new Random(1).NextBytes(disk.Bytes);
        for (int slot = 0; slot < 4; slot++)
        {
            Submit(slot, 0, (ulong)slot * 8, 4096, indirect);
        }

        WaitFor(() => disk.Held == 4);
        disk.End(done: true, 2);
        Assert.Equal((2, 4097u), Take());
        disk.End(done: true, 2, 0);
        Assert.Equal((3, 4097u), Take());
        Assert.Equal((0, 4097u), Take());
        Submit(5, 0, 40, 512, indirect);
        WaitFor(() => disk.Held == 2);
        disk.End(done: true, 0, 1);
        Assert.Equal((1, 4097u), Take());
        Assert.Equal((5, 513u), Take());
        foreach ((int slot, int length) in ((int, int)[])[(0, 4096), (1, 4096), (2, 4096), (3, 4096), (5, 512)])
        {
            Assert.Equal(disk.Bytes[(slot * 4096)..((slot * 4096) + length)], Data(slot, length));
            Assert.Equal(0, Status(slot));
        }
    }

    [Fact]
    public void What_ends_together_is_one_interrupt()
    {
        HeldDisk disk = Start(new HeldDisk(1 << 20), packed: false);
        for (int slot = 0; slot < 10; slot++)
        {
            Submit(slot, 0, 0, 512);
        }

        WaitFor(() => disk.Held == 10);
        Assert.Equal(0, Volatile.Read(ref _messages));
        disk.End(done: true, [.. Enumerable.Range(0, 10)]);
        for (int slot = 0; slot < 10; slot++)
        {
            Take();
        }

        WaitFor(() => Volatile.Read(ref _messages) > 0);
        disk.End(done: true);
        Submit(0, 0, 0, 512);
        WaitFor(() => disk.Held == 1);
        Assert.Equal(1, Volatile.Read(ref _messages));
    }

    [Fact]
    public void A_hosts_error_in_flight_is_the_guests()
    {
        HeldDisk disk = Start(new HeldDisk(1 << 20), packed: false);
        Submit(0, 0, 0, 4096);
        Submit(1, 1, 0, 4096);
        Submit(2, 4, 0, 0);
        Submit(3, 4, 0, 0);
        WaitFor(() => disk.Held == 4);
        disk.End(done: false, 0, 1, 2);
        disk.End(done: true, 0);
        for (int i = 0; i < 4; i++)
        {
            (int slot, uint written) = Take();
            Assert.Equal(slot == 3 ? (0, 1u) : (1, 0u), (Status(slot), written));
        }

        // What a read that failed may have brought is seen as written all the same, and so is the status.
        lock (_written)
        {
            Assert.Contains((Slot(0) + DataOffset, 4096ul), _written);
            Assert.Contains((Slot(0) + 16, 1ul), _written);
        }
    }

    [Fact]
    public void There_may_be_more_than_can_be_in_flight()
    {
        HeldDisk disk = Start(new HeldDisk(1 << 20), packed: false);
        for (int slot = 0; slot < 200; slot++)
        {
            Submit(slot, 0, (ulong)slot, 512, indirect: true);
        }

        var seen = new HashSet<int>();
        int most = 0;
        while (seen.Count < 200)
        {
            WaitFor(() => disk.Held > 0);
            most = Math.Max(most, disk.Held);
            disk.End(done: true, disk.Held / 2);
            Assert.True(seen.Add(Take().Slot));
        }

        Assert.InRange(most, 2, 199);
    }

    [Fact]
    public void A_reset_waits_for_what_is_in_flight()
    {
        HeldDisk disk = Start(new HeldDisk(1 << 20), packed: false);
        disk.Bytes.AsSpan().Fill(0x77);
        Submit(0, 0, 0, 4096);
        Submit(1, 0, 0, 4096);
        WaitFor(() => disk.Held == 2);
        Write(20, 0);
        disk.End(done: true, 1);
        WaitFor(() => Data(1, 1)[0] == 0x77);
        Assert.NotEqual(0u, Read(20, 1));
        disk.End(done: true, 0);
        WaitFor(() => Read(20, 1) == 0);
        Assert.Equal(0, disk.Queues);
        Assert.Equal(0x77, Data(0, 4096)[4095]);
        BringUp(packed: true);
        Submit(2, 0, 0, 512);
        WaitFor(() => disk.Held == 1);
        disk.End(done: true, 0);
        Assert.Equal((2, 513u), Take());
    }

    [Fact]
    public void The_machines_end_waits_for_what_is_in_flight()
    {
        HeldDisk disk = Start(new HeldDisk(1 << 20), packed: false);
        Submit(0, 0, 0, 4096);
        WaitFor(() => disk.Held == 1);
        var end = new Thread(_function!.Dispose);
        end.Start();
        WaitFor(() => (end.ThreadState & System.Threading.ThreadState.WaitSleepJoin) != 0);
        Assert.Equal((1, 1), (disk.Held, disk.Queues));
        disk.End(done: true, 0);
        end.Join();
        Assert.Equal(0, disk.Queues);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Any_requests_in_any_number_agree_with_a_model(bool packed, bool ring)
    {
        string folder = Directory.CreateDirectory(Path.Combine(AppContext.BaseDirectory, $"block-{Guid.NewGuid():n}")).FullName;
        try
        {
            byte[] model = new byte[4 << 20];
            var random = new Random(7);
            random.NextBytes(model);
            string path = Path.Combine(folder, "disk.raw");
            File.WriteAllBytes(path, model);
            IDisk disk = RawDisk.Open(path, readOnly: false, 512);
            Start(ring ? disk : new OnTheSpot(disk), packed);
            Exercise(model, random, path);
            _function!.Dispose();
            disk.Dispose();
            Assert.True(model.AsSpan().SequenceEqual(File.ReadAllBytes(path)));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // The bytes come by the host's kernel, or by a thread of the monitor's.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Pages_that_a_request_reads_into_are_noted(bool ring)
    {
        string path = Path.Combine(AppContext.BaseDirectory, $"block-{Guid.NewGuid():n}");
        try
        {
            byte[] bytes = new byte[1 << 20];
            new Random(7).NextBytes(bytes);
            File.WriteAllBytes(path, bytes);
            IDisk disk = RawDisk.Open(path, readOnly: false, 512);
            Start(ring ? disk : new OnTheSpot(disk), packed: false);
            _memory.DirtyPages.Start();
            Submit(0, 0, 8, 8192);
            Assert.Equal(0, Take().Slot);
            Assert.True(bytes.AsSpan(4096, 8192).SequenceEqual(Data(0, 8192)));
            var bitmap = new ulong[_memory.DirtyPages.Words];
            _memory.DirtyPages.Take(bitmap);
            foreach (ulong page in (ulong[])[(Slot(0) + DataOffset) >> 12, ((Slot(0) + DataOffset) >> 12) + 1, Slot(0) >> 12])
            {
                Assert.NotEqual(0ul, bitmap[page / 64] >> (int)(page % 64) & 1);
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    private void Exercise(byte[] model, Random random, string path)
    {
        var free = new Stack<int>(Enumerable.Range(0, 64));
        var busy = new Dictionary<int, (int At, int Length, bool Writes)>();
        for (int step = 0; step < 4000; step++)
        {
            // The driver's model numbers requests in turn: none may stay while all other numbers are used.
            while (busy.Count > 0 && (step % 200 == 0 || free.Count == 0))
            {
                Check(Take().Slot);
            }

            if (step % 200 == 0)
            {
                Evict(path);
            }

            int length = 512 * random.Next(1, 17);
            int at = 512 * random.Next((model.Length - length) / 512);
            uint type = random.Next(20) == 0 ? 4u : random.Next(3) == 0 ? 1u : 0;
            length = type == 4 ? 0 : length;
            if (busy.Values.Any(b => (type == 1 || b.Writes) && b.At < at + length && at < b.At + b.Length))
            {
                continue;
            }

            int slot = free.Pop();
            busy[slot] = (at, length, type == 1);
            if (type == 1)
            {
                random.NextBytes(model.AsSpan(at, length));
                _memory.Write(Slot(slot) + DataOffset, model.AsSpan(at, length));
            }

            Submit(slot, type, (ulong)at / 512, (uint)length, indirect: true);
            while (random.Next(3) == 0 && TryTake() is { } ended)
            {
                Check(ended.Slot);
            }
        }

        while (busy.Count > 0)
        {
            Check(Take().Slot);
        }

        void Check(int slot)
        {
            Assert.True(busy.Remove(slot, out (int At, int Length, bool Writes) request));
            Assert.Equal(0, Status(slot));
            Assert.True(model.AsSpan(request.At, request.Length).SequenceEqual(Data(slot, request.Length)));
            free.Push(slot);
        }
    }

    // Takes a file out of the host's cache, as far as the host does that.
    private static void Evict(string path)
    {
        foreach (string[] command in (string[][])[["sync", path], ["dd", $"if={path}", "iflag=nocache", "count=0", "status=none"]])
        {
            using var process = Process.Start(command[0], command[1..]);
            process.WaitForExit();
        }
    }

    private T Start<T>(T disk, bool packed)
        where T : IDisk
    {
        var windows = new PciWindows((0xC000, 0x4000), (Base, 0x1000_0000), (1ul << 36, 1ul << 36));
        var host = new PciHost(new Bus("pio"), _mmio, windows, [.. Enumerable.Repeat(((IInterruptLine)new Probe(), (byte)10), 4)]);
        var dma = new Dma(_memory, (gpa, length) =>
        {
            _memory.Written(gpa, length);
            lock (_written)
            {
                _written.Add((gpa, length));
            }
        });
        _function = new VirtioPci(new VirtioBlock(disk, 0, 1, "disk"), dma, (_, _) => Interlocked.Increment(ref _messages), packed: true);
        host.Add(2, _function);
        host.Assign();
        host.Ecam.Out32((2 << 15) | 4, 7);
        _held = disk as HeldDisk;
        BringUp(packed);
        return disk;
    }

    private void BringUp(bool packed)
    {
        ulong features = (1ul << 32) | (1ul << 28) | (packed ? 1ul << 34 : 0);
        Write(20, 3);
        for (uint half = 0; half < 2; half++)
        {
            Write32(8, half);
            Write32(12, (uint)(features >> (32 * (int)half)));
        }

        Write(20, 11);
        _queue = new DriverQueue(_memory, Ring, Size, packed);
        _slots.Clear();
        Write16(24, Size);
        _mmio.Write(Base + 0x4000 + 16 + 12, [0, 0, 0, 0]);
        _function!.Write(Capability(0x11) + 2, [0, 0x80]);
        Write16(26, 1);
        (ulong Offset, ulong Address)[] parts = [(32, _queue.Addresses.Descriptors), (40, _queue.Addresses.Driver), (48, _queue.Addresses.Device)];
        foreach ((ulong offset, ulong address) in parts)
        {
            Write32(offset, (uint)address);
            Write32(offset + 4, 0);
        }

        Write16(28, 1);
        Write(20, 15);
    }

    private int Capability(byte id)
    {
        Span<byte> two = stackalloc byte[2];
        _function!.Read(0x34, two[..1]);
        int at = two[0];
        for (_function.Read(at, two); two[0] != id; _function.Read(at, two))
        {
            at = two[1];
        }

        return at;
    }

    private static ulong Slot(int slot) => Slots + ((ulong)slot * SlotSize);

    private void Submit(int slot, uint type, ulong sector, uint length, bool indirect = false)
    {
        _memory.Write(Slot(slot), [.. BitConverter.GetBytes(type), 0, 0, 0, 0, .. BitConverter.GetBytes(sector), 0xAA]);
        (ulong, uint, bool)[] data = length == 0 ? [] : [(Slot(slot) + DataOffset, length, type == 0)];
        _slots[_queue!.Add(indirect, [(Slot(slot), 16, false), .. data, (Slot(slot) + 16, 1, true)])] = slot;
        _mmio.Write(Notify, [0, 0]);
    }

    private (int Slot, uint Written)? TryTake() => _queue!.Take() is { } used ? (_slots[used.Id], used.Written) : null;

    private (int Slot, uint Written) Take()
    {
        (int, uint)? taken = null;
        WaitFor(() => (taken = TryTake()) is not null);
        return taken!.Value;
    }

    private int Status(int slot) => Bytes(Slot(slot) + 16, 1)[0];

    private byte[] Data(int slot, int length) => Bytes(Slot(slot) + DataOffset, length);

    private byte[] Bytes(ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        _memory.Read(gpa, bytes);
        return bytes;
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

    private uint Read(ulong offset, int length)
    {
        byte[] data = new byte[4];
        _mmio.Read(Base + offset, data.AsSpan(0, length));
        return BitConverter.ToUInt32(data);
    }

    private void Write(ulong offset, byte value) => _mmio.Write(Base + offset, [value]);

    private void Write16(ulong offset, ushort value) => _mmio.Write(Base + offset, BitConverter.GetBytes(value));

    private void Write32(ulong offset, uint value) => _mmio.Write(Base + offset, BitConverter.GetBytes(value));

    /// <summary>A disk whose queue has nothing in flight, as where the host does not allow it.</summary>
    private sealed class OnTheSpot(IDisk disk) : IDisk
    {
        public string Path => disk.Path;

        public long Length => disk.Length;

        public bool ReadOnly => disk.ReadOnly;

        public bool TryRead(long offset, Span<byte> data) => disk.TryRead(offset, data);

        public bool TryWrite(long offset, ReadOnlySpan<byte> data) => disk.TryWrite(offset, data);

        public bool TryFlush() => disk.TryFlush();

        public bool TryDiscard(long offset, long length) => disk.TryDiscard(offset, length);

        public bool TryWriteZeroes(long offset, long length, bool mayDiscard) => disk.TryWriteZeroes(offset, length, mayDiscard);

        public void Dispose() => disk.Dispose();
    }
}
