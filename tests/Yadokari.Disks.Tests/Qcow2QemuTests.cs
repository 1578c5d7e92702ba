using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks.Tests;

/// <summary>Images that QEMU's tools made are read and written rightly, and those tools read and check what is made and written here.</summary>
public sealed class Qcow2QemuTests : IDisposable
{
    private const int Size = 3 << 20;

    private readonly QemuTools _tools = new();

    public Qcow2QemuTests() => QemuTools.Needed();

    public void Dispose() => _tools.Dispose();

    [Theory]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=4k")]
    [InlineData("cluster_size=64k")]
    [InlineData("cluster_size=2M")]
    [InlineData("refcount_bits=1")]
    [InlineData("refcount_bits=2")]
    [InlineData("refcount_bits=8,cluster_size=512")]
    [InlineData("refcount_bits=32")]
    [InlineData("refcount_bits=64,cluster_size=1k")]
    [InlineData("compat=0.10")]
    [InlineData("compat=0.10,cluster_size=512")]
    [InlineData("lazy_refcounts=on")]
    [InlineData("compression_type=zstd")]
    [InlineData("preallocation=metadata")]
    [InlineData("preallocation=falloc")]
    [InlineData("preallocation=full,cluster_size=16k")]
    public void What_QEMU_made_and_wrote_is_read_and_written(string options)
    {
        string image = _tools.File("image.qcow2");
        QemuTools.Img("create", "-f", "qcow2", "-o", options, image, $"{Size}");
        var random = new Random(1);
        QemuTools.Io(image, Enumerable.Range(1, 40).Select(i => RandomCommand(random, i, Size, compat: options.Contains("0.10", StringComparison.Ordinal))));
        Continue(image, random);
    }

    [Theory]
    [InlineData("zlib", "cluster_size=64k")]
    [InlineData("zlib", "cluster_size=512")]
    [InlineData("zstd", "cluster_size=64k")]
    [InlineData("zstd", "cluster_size=2M")]
    public void Compressed_clusters_are_read_and_overwritten(string type, string options)
    {
        var random = new Random(2);
        string raw = _tools.File("raw");
        File.WriteAllBytes(raw, Text(random, Size));
        string image = _tools.File("image.qcow2");
        QemuTools.Img("convert", "-O", "qcow2", "-c", "-o", $"{options},compression_type={type}", raw, image);
        using (IDisk disk = DiskImage.Open(image, readOnly: true))
        {
            Assert.True(File.ReadAllBytes(raw).AsSpan().SequenceEqual(DiskModel.ReadAll(disk)));
        }

        Continue(image, random);
    }

    [Theory]
    [InlineData("raw", false)]
    [InlineData("qcow2", false)]
    [InlineData("qcow2", true)]
    public void A_chain_of_backing_files_shows_through(string format, bool shorter)
    {
        var random = new Random(3);
        string folder = Directory.CreateDirectory(_tools.File("elsewhere")).FullName;
        string raw = _tools.File("raw");
        byte[] bytes = new byte[shorter ? Size / 2 : Size];
        random.NextBytes(bytes);
        File.WriteAllBytes(raw, bytes);
        string bottom = Path.Combine(folder, "bottom." + format);
        QemuTools.Img("convert", "-O", format, raw, bottom);
        string middle = Path.Combine(folder, "middle.qcow2");
        QemuTools.Img("create", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "bottom." + format, "-F", format, middle, $"{Size}");
        QemuTools.Io(middle, Enumerable.Range(1, 20).Select(i => RandomCommand(random, i, Size)));
        string top = _tools.File("top.qcow2");
        QemuTools.Img("create", "-f", "qcow2", "-b", "elsewhere/middle.qcow2", "-F", "qcow2", top, $"{Size + 4096}");
        QemuTools.Io(top, Enumerable.Range(1, 10).Select(i => RandomCommand(random, i, Size)));
        byte[] before = File.ReadAllBytes(middle);
        Continue(top, random);
        Assert.Equal(before, File.ReadAllBytes(middle));
    }

    [Theory]
    [InlineData("cluster_size=64k")]
    [InlineData("cluster_size=512")]
    [InlineData("compat=0.10,cluster_size=4k")]
    public void Snapshots_keep_what_they_had(string options)
    {
        var random = new Random(4);
        string image = _tools.File("image.qcow2");
        QemuTools.Img("create", "-f", "qcow2", "-o", options, image, $"{Size}");
        QemuTools.Io(image, Enumerable.Range(1, 20).Select(i => RandomCommand(random, i, Size, compat: true)));
        byte[] first = _tools.Contents(image);
        QemuTools.Img("snapshot", "-c", "first", image);
        Continue(image, random);
        byte[] second = _tools.Contents(image);
        QemuTools.Img("snapshot", "-c", "second", image);
        Continue(image, random);
        Assert.Equal(["first", "second"], DiskFiles.Describe(image).Snapshots.Select(s => s.Name));
        QemuTools.Img("snapshot", "-a", "first", image);
        Assert.True(first.AsSpan().SequenceEqual(_tools.Contents(image)));
        Continue(image, random);
        QemuTools.Img("snapshot", "-d", "first", image);
        QemuTools.Img("snapshot", "-a", "second", image);
        Assert.True(second.AsSpan().SequenceEqual(_tools.Contents(image)));
        Continue(image, random);
    }

    [Theory]
    [InlineData(null, 64 << 10)]
    [InlineData(null, 512)]
    [InlineData(Qcow2Compression.Zlib, 64 << 10)]
    [InlineData(Qcow2Compression.Zlib, 512)]
    [InlineData(Qcow2Compression.Zlib, 2 << 20)]
    [InlineData(Qcow2Compression.Zstd, 64 << 10)]
    [InlineData(Qcow2Compression.Zstd, 4096)]
    public void What_is_converted_here_QEMU_reads(Qcow2Compression? compression, int clusterSize)
    {
        var random = new Random(5);
        string raw = _tools.File("raw");
        byte[] bytes = Text(random, Size + 512);
        bytes.AsSpan(1 << 20, 600_000).Clear();
        random.NextBytes(bytes.AsSpan(2 << 20, 200_000));
        File.WriteAllBytes(raw, bytes);
        string image = _tools.File("image.qcow2");
        DiskFiles.Convert(raw, null, image, new NewDisk { Compression = compression, ClusterSize = clusterSize }, _ => { }, TestContext.Current.CancellationToken);
        QemuTools.Check(image);
        QemuTools.Img("compare", "-f", "raw", "-F", "qcow2", raw, image);
        Assert.True(compression is null || clusterSize > Size / 2 || new FileInfo(image).Length < bytes.Length * 3 / 4);
        string back = _tools.File("back");
        DiskFiles.Convert(image, null, back, new NewDisk { Format = DiskFormat.Raw }, _ => { }, TestContext.Current.CancellationToken);
        Assert.True(bytes.AsSpan().SequenceEqual(File.ReadAllBytes(back)));
        Continue(image, random);
    }

    [Fact]
    public void What_was_damaged_is_found_as_QEMU_finds_it_and_repaired()
    {
        var random = new Random(6);
        string image = _tools.File("image.qcow2");
        for (int round = 0; round < 30; round++)
        {
            File.Delete(image);
            QemuTools.Img("create", "-f", "qcow2", "-o", "cluster_size=4k", image, $"{Size}");
            QemuTools.Io(image, Enumerable.Range(1, 20).Select(i => RandomCommand(random, i, Size)));
            byte[] contents = _tools.Contents(image);
            Qcow2Header header;
            using (HostFile file = HostFile.Open(image, readOnly: false))
            {
                header = Qcow2Header.Read(image, file);
                ulong block = BigEndian.ReadTable(file, header.RefcountTableOffset, 1)![0];
                for (int i = 0; i < 5; i++)
                {
                    Span<byte> count = [0, (byte)random.Next(3)];
                    Assert.True(file.TryWrite((long)block + (2 * random.Next(600)), count));
                }
            }

            (int code, string output) = QemuTools.Run("qemu-img", "check", "-f", "qcow2", image);
            (DiskCheck before, DiskCheck? after) = DiskFiles.Check(image, repair: true);
            Assert.True(code == (before.Errors > 0 ? 2 : before.Leaks > 0 ? 3 : 0), $"{code}, {before}: {output}");
            Assert.True(after is null || (after.Errors == 0 && after.Leaks == 0), string.Join('\n', after?.Messages ?? []));
            QemuTools.Check(image);
            Assert.True(contents.AsSpan().SequenceEqual(_tools.Contents(image)));
        }
    }

    [Fact]
    public void An_image_that_QEMU_left_dirty_is_repaired_when_it_is_opened()
    {
        string image = _tools.File("image.qcow2");
        QemuTools.Img("create", "-f", "qcow2", "-o", "lazy_refcounts=on", image, $"{Size}");
        QemuTools.Run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", "-c", "flush", "-c", "abort", image);
        Assert.True(DiskFiles.Describe(image).IsDirty);
        Continue(image, new Random(7));
        Assert.False(DiskFiles.Describe(image).IsDirty);
    }

    [Fact]
    public void A_bitmap_is_not_believed_after_a_write()
    {
        string image = _tools.File("image.qcow2");
        QemuTools.Img("create", "-f", "qcow2", image, $"{Size}");
        QemuTools.Img("bitmap", "--add", image, "b");
        QemuTools.Io(image, "write 0 64k");
        (DiskCheck check, _) = DiskFiles.Check(image, repair: false);
        Assert.Equal((0, 0), (check.Errors, check.Leaks));
        using (HostFile file = HostFile.Open(image, readOnly: true))
        {
            Assert.NotEqual(0UL, Qcow2Header.Read(image, file).Autoclear);
        }

        DiskImage.Open(image, readOnly: false).Dispose();
        using (HostFile file = HostFile.Open(image, readOnly: true))
        {
            Assert.Equal(0UL, Qcow2Header.Read(image, file).Autoclear);
        }
    }

    [Theory]
    [InlineData("extended_l2=on", "extended L2 entries")]
    [InlineData("data_file=data.raw", "external data file")]
    [InlineData("encrypt.format=aes,encrypt.key-secret=s", "encrypted")]
    public void What_is_not_supported_is_named(string options, string name)
    {
        string image = _tools.File("image.qcow2");
        QemuTools.Img("create", "--object", "secret,id=s,data=x", "-f", "qcow2", "-o", options.Replace("data.raw", _tools.File("data.raw"), StringComparison.Ordinal), image, $"{Size}");
        Assert.Contains(name, Assert.Throws<UserErrorException>(() => DiskImage.Open(image, readOnly: true)).Message);
    }

    // What QEMU sees is what is seen here; then both do more to it.
    private void Continue(string image, Random random)
    {
        byte[] contents = _tools.Contents(image);
        int clusterSize = DiskFiles.Describe(image).ClusterSize;
        bool old = DiskFiles.Describe(image).Version == 2;
        using (IDisk disk = DiskImage.Open(image, readOnly: true))
        {
            Assert.True(contents.AsSpan().SequenceEqual(DiskModel.ReadAll(disk)), "QEMU reads something else");
        }

        var model = new DiskModel(contents) { KeepsDiscarded = old && DiskFiles.Describe(image).Backing is not null };
        using (IDisk disk = DiskImage.Open(image, readOnly: false))
        {
            for (int i = 0; i < 60; i++)
            {
                model.Step(disk, random, clusterSize);
            }
        }

        QemuTools.Check(image);
        Assert.True(model.Bytes.AsSpan().SequenceEqual(_tools.Contents(image)), "QEMU reads something else than was written");
        (DiskCheck check, _) = DiskFiles.Check(image, repair: false);
        Assert.True(check is { Errors: 0, Leaks: 0 }, string.Join('\n', check.Messages));
    }

    private static string RandomCommand(Random random, int pattern, int size, bool compat = false)
    {
        int length = 512 * random.Next(1, 300);
        int offset = 512 * random.Next((size - length) / 512);
        return (compat ? 0 : random.Next(5)) switch
        {
            1 => $"discard {offset} {length}",
            2 => $"write -z {offset} {length}",
            3 => $"write -z -u {offset} {length}",
            _ => $"write -P {pattern} {offset} {length}",
        };
    }

    private static byte[] Text(Random random, int size)
    {
        byte[] bytes = new byte[size];
        for (int i = 0; i < size; i++)
        {
            bytes[i] = (byte)(random.Next(4) == 0 ? random.Next(256) : 'a' + (i % 23));
        }

        return bytes;
    }
}
