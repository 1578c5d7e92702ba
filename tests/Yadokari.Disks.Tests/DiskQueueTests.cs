using System.Diagnostics;
using System.Runtime.InteropServices;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks.Tests;

/// <summary>Queues of requests to disks, by the kernel's ring and without.</summary>
public sealed class DiskQueueTests : IDisposable
{
    private const int Size = 8 << 20;
    private const int Depth = 32;
    private const int Slot = 64 << 10;

    // Beside the tests, which is on a disk more likely than the folder for temporary files is.
    private readonly string _folder = Directory.CreateDirectory(Path.Combine(AppContext.BaseDirectory, $"queue-{Guid.NewGuid():n}")).FullName;
    private readonly byte[] _memory = GC.AllocateArray<byte>(Depth * Slot, pinned: true);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, bool> Kinds => new MatrixTheoryData<string, bool>(["raw", "qcow2", "overlay"], [false, true]);

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Whatever_is_in_flight_a_disk_holds_what_was_written(string kind, bool ring)
    {
        (IDisk disk, byte[] model, string path) = Open(kind);
        using (disk)
        {
            using IDiskQueue queue = ring ? disk.OpenQueue(Depth) : new DirectDiskQueue(disk);
            var random = new Random(11);
            var free = new Stack<int>(Enumerable.Range(0, Depth));
            var busy = new Dictionary<int, (int Offset, int Length)>();
            int flew = 0;
            for (int step = 0; step < 3000; step++)
            {
                if (step % 100 == 0)
                {
                    Assert.True(disk.TryFlush());
                    Evict(path);
                }

                int tag = free.Pop();
                int length = 512 * random.Next(1, 1 + (Slot / 512));
                int offset = random.Next((Size - length) / 512) * 512;
                bool reads = random.Next(3) > 0;
                if (!reads && busy.Values.Any(b => b.Offset < offset + length && offset < b.Offset + b.Length))
                {
                    free.Push(tag);
                    continue; // What is read may be either, then.
                }

                if (!reads)
                {
                    random.NextBytes(_memory.AsSpan(tag * Slot, length));
                    _memory.AsSpan(tag * Slot, length).CopyTo(model.AsSpan(offset));
                }

                bool flushes = reads && random.Next(30) == 0;
                DiskProgress progress = flushes ? queue.Flush(tag) : reads ? queue.Read(offset, Pieces(tag, length, random.Next(1, 9)), tag) : queue.Write(offset, Pieces(tag, length, random.Next(1, 9)), tag);
                if (progress == DiskProgress.InFlight)
                {
                    flew++;
                    busy[tag] = (offset, flushes ? 0 : length);
                }
                else
                {
                    Assert.Equal(DiskProgress.Done, progress);
                    Assert.True(flushes || model.AsSpan(offset, length).SequenceEqual(_memory.AsSpan(tag * Slot, length)));
                    free.Push(tag);
                }

                queue.Poll(wait: free.Count == 0);
                TakeAll();
            }

            while (busy.Count > 0)
            {
                queue.Poll(wait: true);
                TakeAll();
            }

            void TakeAll()
            {
                while (queue.TryTake(out int tag, out bool done))
                {
                    Assert.True(busy.Remove(tag, out (int Offset, int Length) range) && done);
                    Assert.True(model.AsSpan(range.Offset, range.Length).SequenceEqual(_memory.AsSpan(tag * Slot, range.Length)));
                    free.Push(tag);
                }
            }

            Assert.True(model.AsSpan().SequenceEqual(DiskModel.ReadAll(disk)));
            Assert.True(ring || flew == 0);
        }
    }

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    [InlineData("overlay")]
    public void What_is_read_from_the_disk_is_in_flight_together(string kind)
    {
        (IDisk disk, byte[] model, string path) = Open(kind);
        using (disk)
        {
            using IDiskQueue queue = disk.OpenQueue(Depth);
            Evict(path);
            var flying = new HashSet<int>();
            for (int tag = 0; tag < Depth; tag++)
            {
                DiskProgress progress = queue.Read(Offset(tag), Pieces(tag, 4096, 3), tag);
                Assert.NotEqual(DiskProgress.Failed, progress);
                _ = progress == DiskProgress.InFlight && flying.Add(tag);
            }

            Assert.SkipWhen(flying.Count == 0, "this host does not allow io_uring, or has the file in memory whatever happens");
            int flew = flying.Count;
            while (flying.Count > 0)
            {
                queue.Poll(wait: true);
                while (queue.TryTake(out int tag, out bool done))
                {
                    Assert.True(done && flying.Remove(tag));
                }
            }

            Assert.True(flew > Depth / 2, $"Only {flew} of {Depth} reads were in flight.");
            for (int tag = 0; tag < Depth; tag++)
            {
                Assert.Equal(model.AsSpan(Offset(tag), 4096), _memory.AsSpan(tag * Slot, 4096));
            }
        }

        static int Offset(int tag) => tag * 37 % Depth * (Size / Depth);
    }

    [Fact]
    public void A_file_that_ends_too_early_is_an_error()
    {
        (IDisk disk, byte[] model, string path) = Open("raw");
        using (disk)
        {
            using IDiskQueue queue = disk.OpenQueue(Depth);
            Truncate(path, 6144);
            Assert.True(End(queue, queue.Read(0, Pieces(0, 4096, 2), 0)));
            Assert.Equal(model.AsSpan(0, 4096), _memory.AsSpan(0, 4096));
            Assert.False(End(queue, queue.Read(4096, Pieces(0, 4096, 2), 0)));
            Assert.False(End(queue, queue.Read(1 << 20, Pieces(0, 4096, 2), 0)));
        }
    }

    [Fact]
    public void More_pieces_than_the_ring_takes_are_read_too()
    {
        (IDisk disk, byte[] model, _) = Open("raw");
        using (disk)
        {
            using IDiskQueue queue = disk.OpenQueue(Depth);
            Assert.Equal(DiskProgress.Done, queue.Read(512, Pieces(0, 2000, 2000), 0));
            Assert.Equal(model.AsSpan(512, 2000), _memory.AsSpan(0, 2000));
        }
    }

    // What a guest gives up is not given to another use while somebody reads it.
    [Fact]
    public void A_cluster_stays_as_long_as_it_is_read()
    {
        (IDisk opened, byte[] model, _) = Open("qcow2");
        var disk = (Qcow2Disk)opened;
        using (disk)
        {
            Assert.True(((IExtentDisk)disk).TryMapExtent(0, 4096, out FileExtent extent));
            Assert.Equal(model[..4096], Read(extent));
            Assert.True(disk.TryDiscard(0, 1 << 20) && disk.TryFlush());
            Rewrite();
            Assert.Equal(model[..4096], Read(extent));
            extent.Release();
            Rewrite();
            Assert.NotEqual(model[..4096], Read(extent));
        }

        static byte[] Read(FileExtent extent)
        {
            byte[] data = new byte[4096];
            RandomAccess.Read(extent.File, data, extent.Offset);
            return data;
        }

        // Each cluster of its upper half goes to another place.
        void Rewrite()
        {
            byte[] data = new byte[Slot];
            Array.Fill(data, (byte)0xAB);
            for (int round = 0; round < 2; round++)
            {
                for (int at = Size / 2; at < Size; at += Slot)
                {
                    Assert.True(disk.TryDiscard(at, Slot) && disk.TryWrite(at, data));
                }

                Assert.True(disk.TryFlush());
            }
        }
    }

    private static bool End(IDiskQueue queue, DiskProgress progress)
    {
        bool done = progress == DiskProgress.Done;
        while (progress == DiskProgress.InFlight && !queue.TryTake(out _, out done))
        {
            queue.Poll(wait: true);
        }

        return done;
    }

    private HostBuffer[] Pieces(int tag, int length, int count) =>
        [.. Enumerable.Range(0, count).Select(i => (First: (int)((long)length * i / count), End: (int)((long)length * (i + 1) / count)))
            .Where(p => p.End > p.First).Select(p => new HostBuffer(Marshal.UnsafeAddrOfPinnedArrayElement(_memory, (tag * Slot) + p.First), p.End - p.First))];

    // A disk of random bytes, and the file that has them.
    private (IDisk Disk, byte[] Model, string Path) Open(string kind)
    {
        byte[] model = new byte[Size];
        new Random(3).NextBytes(model);
        string path = Path.Combine(_folder, kind == "qcow2" ? "disk.qcow2" : "disk.raw");
        if (kind != "qcow2")
        {
            File.WriteAllBytes(path, model);
        }

        if (kind == "raw")
        {
            return (RawDisk.Open(path, readOnly: false, 512), model, path);
        }

        string image = Path.Combine(_folder, kind + ".qcow2");
        string? backing = kind == "overlay" ? path : null;
        path = kind == "qcow2" ? image : path;
        DiskFiles.Create(image, new NewDisk { Size = Size, Backing = backing, BackingFormat = backing is null ? null : DiskFormat.Raw });
        IDisk disk = DiskImage.Open(image, readOnly: false);
        if (kind == "qcow2")
        {
            Assert.True(disk.TryWrite(0, model) && disk.TryFlush());
        }

        return (disk, model, path);
    }

    // Takes a file out of the host's cache, as far as the host does that.
    private static void Evict(string path)
    {
        Run("sync", path);
        Run("dd", $"if={path}", "iflag=nocache", "count=0", "status=none");
    }

    // By another process: who has a disk open has it alone.
    private static void Truncate(string path, int length) => Run("truncate", "-s", length.ToString(System.Globalization.CultureInfo.InvariantCulture), path);

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
