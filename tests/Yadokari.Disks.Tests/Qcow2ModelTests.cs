using CsCheck;
using Yadokari.Core.Disks;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks.Tests;

/// <summary>Anything done in any order to any kind of image, against plain bytes and QEMU's own check.</summary>
public sealed class Qcow2ModelTests : IDisposable
{
    private readonly QemuTools _tools = new();

    public Qcow2ModelTests() => QemuTools.Needed();

    public void Dispose() => _tools.Dispose();

    [Fact]
    public void An_image_holds_what_was_written() => Gen.Int.Sample(seed => Exercise(seed, 80), iter: 60, threads: 1);

    [Fact]
    public void After_any_crash_an_image_is_sound_and_holds_what_was_flushed() => Gen.Int.Sample(Crash, iter: 100, threads: 1);

    [Fact]
    public void A_host_without_room_costs_nothing_that_was_there() => Gen.Int.Sample(Fill, iter: 60, threads: 1);

    private void Exercise(int seed, int steps)
    {
        var random = new Random(seed);
        Geometry geometry = Geometry.Any(random);
        (MemoryImage file, byte[]? backing, DiskModel model) = Make(geometry, random);
        Qcow2Disk disk = Open(file, backing);
        for (int i = 0; i < steps; i++)
        {
            model.Step(disk, random, geometry.ClusterSize);
            if (random.Next(20) == 0)
            {
                disk.Dispose();
                Assert.True(disk.TryRead(0, new byte[512]));
                disk = Open(file, backing);
            }
        }

        Assert.True(model.Bytes.AsSpan().SequenceEqual(DiskModel.ReadAll(disk)));
        disk.Dispose();
        CheckWithQemu(file.Bytes, model);
    }

    private void Crash(int seed)
    {
        var random = new Random(seed);
        Geometry geometry = Geometry.Any(random) with { Size = 512 * random.Next(1, 600) };
        (MemoryImage file, byte[]? backing, DiskModel model) = Make(geometry, random, pieceUnit: 512);
        Qcow2Disk disk = Open(file, backing);
        for (int life = 0; life < 3; life++)
        {
            int steps = random.Next(40);
            for (int i = 0; i < steps; i++)
            {
                model.Step(disk, random, geometry.ClusterSize);
            }

            // The host may end in the middle of a commit, too.
            if (random.Next(2) == 0)
            {
                file.Writes = random.Next(20);
                if (disk.TryFlush())
                {
                    model.Flushed();
                }
            }

            byte[] left = file.Crash(random);
            string image = _tools.File("crashed.qcow2");
            File.WriteAllBytes(image, left);
            if (!geometry.Lazy)
            {
                QemuTools.Check(image, mayLeak: true);
            }

            file = new MemoryImage(left);
            disk = Open(file, backing);
            byte[] found = DiskModel.ReadAll(disk);
            model.CheckCrashed(found);
            model = new DiskModel(found) { PieceUnit = 512 };
        }

        disk.Dispose();
        string path = _tools.File("crashed.qcow2");
        File.WriteAllBytes(path, file.Bytes);
        QemuTools.Check(path, mayLeak: true);
    }

    private void Fill(int seed)
    {
        var random = new Random(seed);
        Geometry geometry = Geometry.Any(random);
        (MemoryImage file, byte[]? backing, DiskModel model) = Make(geometry, random);
        Qcow2Disk disk = Open(file, backing);
        for (int i = 0; i < 60; i++)
        {
            file.Room = random.Next(4) == 0 ? file.Length + random.Next(2 * geometry.ClusterSize) - geometry.ClusterSize : file.Room;
            file.Room = random.Next(6) == 0 ? long.MaxValue : file.Room;
            model.Step(disk, random, geometry.ClusterSize, mayFail: file.Room != long.MaxValue);
        }

        file.Room = long.MaxValue;
        Assert.True(model.Bytes.AsSpan().SequenceEqual(DiskModel.ReadAll(disk)));
        Assert.True(disk.TryFlush());
        disk.Dispose();
        CheckWithQemu(file.Bytes, model, mayLeak: true);
    }

    private (MemoryImage File, byte[]? Backing, DiskModel Model) Make(Geometry geometry, Random random, int pieceUnit = 1)
    {
        byte[]? backing = geometry.MakeBacking(random);
        var file = new MemoryImage([]);
        Qcow2Layout.Write("an image", file, geometry.Header(backing is null ? null : "backing"));
        byte[] contents = new byte[geometry.Size];
        backing?.CopyTo(contents, 0);
        File.WriteAllBytes(_tools.File("backing"), backing ?? []);
        return (file, backing, new DiskModel(contents) { PieceUnit = pieceUnit });
    }

    private static Qcow2Disk Open(MemoryImage file, byte[]? backing) =>
        Qcow2Disk.Open("an image", file, readOnly: false, backing is null ? null : new BytesDisk(backing));

    private void CheckWithQemu(byte[] image, DiskModel model, bool mayLeak = false)
    {
        string path = _tools.File("image.qcow2");
        File.WriteAllBytes(path, image);
        QemuTools.Check(path, mayLeak);
        Assert.True(model.Bytes.AsSpan().SequenceEqual(_tools.Contents(path)), "QEMU reads something else");
    }

    /// <summary>A disk that is bytes.</summary>
    private sealed class BytesDisk(byte[] bytes) : IDisk
    {
        public string Path => "bytes";

        public long Length => bytes.Length;

        public bool ReadOnly => true;

        public bool TryRead(long offset, Span<byte> data)
        {
            bytes.AsSpan((int)offset, data.Length).CopyTo(data);
            return true;
        }

        public bool TryWrite(long offset, ReadOnlySpan<byte> data) => false;

        public bool TryFlush() => true;

        public bool TryDiscard(long offset, long length) => false;

        public bool TryWriteZeroes(long offset, long length, bool mayDiscard) => false;

        public void Dispose()
        {
        }
    }
}
