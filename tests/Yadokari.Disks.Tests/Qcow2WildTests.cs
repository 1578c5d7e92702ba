using System.Buffers.Binary;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Disks.Qcow2;

namespace Yadokari.Disks.Tests;

/// <summary>Images that lie, and files that are not there.</summary>
public sealed class Qcow2WildTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-wild-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void What_can_not_be_marks_the_image_and_ends_its_use()
    {
        foreach (ulong entry in (ulong[])[0x8000_0000_0000_1200, 0x8000_0100_0000_0000, 0x8000_0000_0000_1000, 0x4000_0100_0000_0000])
        {
            MemoryImage file = Made(4096, 1 << 20);
            long l2;
            using (Qcow2Disk disk = Qcow2Disk.Open("an image", file, readOnly: false, null))
            {
                Assert.True(disk.TryWrite(0, new byte[512]));
                Assert.True(disk.TryFlush());
                l2 = (long)(BigEndian.ReadTable(file, disk.Header.L1Offset, 1)![0] & Qcow2Disk.OffsetMask);
            }

            byte[] bytes = new byte[8];
            BinaryPrimitives.WriteUInt64BigEndian(bytes, entry);
            Assert.True(file.TryWrite(l2 + 8, bytes));
            using (Qcow2Disk disk = Qcow2Disk.Open("an image", file, readOnly: true, null))
            {
                Assert.Equal(entry == 0x8000_0000_0000_1000, disk.TryRead(4096, new byte[512])); // Reading a table does no harm.
                Assert.True(disk.TryRead(0, new byte[512]));
            }

            using (Qcow2Disk disk = Qcow2Disk.Open("an image", file, readOnly: false, null))
            {
                Assert.True(disk.TryRead(0, new byte[512]));
                Assert.False(disk.TryWrite(4096, new byte[512]));
                Assert.False(disk.TryRead(0, new byte[512]));
                Assert.False(disk.TryFlush());
            }

            Assert.Contains("corrupt", Assert.Throws<UserErrorException>(() => Qcow2Disk.Open("an image", file, readOnly: false, null)).Message);
            Qcow2Disk.Open("an image", file, readOnly: true, null).Dispose();
        }
    }

    [Fact]
    public void Features_that_are_not_known_are_named()
    {
        MemoryImage file = Made(4096, 1 << 20);
        Put(file, 72, 1UL << 40);
        Assert.Contains("'incompatible feature 40'", Refused(file));
        byte[] table = new byte[8 + 48];
        BinaryPrimitives.WriteUInt32BigEndian(table, 0x6803_F857);
        BinaryPrimitives.WriteUInt32BigEndian(table.AsSpan(4), 48);
        table[9] = 40;
        Encoding.UTF8.GetBytes("time travel").CopyTo(table, 10);
        Assert.True(file.TryWrite(112, table));
        Assert.Contains("'time travel'", Refused(file));
    }

    [Fact]
    public void A_chain_that_is_broken_endless_or_too_long_is_refused()
    {
        string Image(string name, string backing)
        {
            string path = Path.Combine(_folder, name);
            var file = new MemoryImage([]);
            Qcow2Layout.Write(path, file, new Qcow2Header { Size = 1 << 20, ClusterBits = 9, BackingName = backing, BackingFormat = "qcow2" });
            File.WriteAllBytes(path, file.Bytes);
            return path;
        }

        string a = Image("a.qcow2", "b.qcow2");
        Assert.Contains("b.qcow2', which does not exist", Assert.Throws<UserErrorException>(() => DiskImage.Open(a, readOnly: true)).Message);
        Image("b.qcow2", "./a.qcow2");
        Assert.Contains("builds on itself", Assert.Throws<UserErrorException>(() => DiskImage.Open(a, readOnly: true)).Message);
        for (int i = 0; i < 70; i++)
        {
            Image($"c{i}.qcow2", $"c{i + 1}.qcow2");
        }

        Assert.Contains("more than 64", Assert.Throws<UserErrorException>(() => DiskImage.Open(Path.Combine(_folder, "c0.qcow2"), readOnly: true)).Message);
    }

    [Fact]
    public void A_guest_can_not_make_a_raw_image_another()
    {
        byte[] image = Made(512, 1 << 20).Bytes;
        string raw = Path.Combine(_folder, "disk.img");
        File.WriteAllBytes(raw, image);
        Assert.Contains("format=", Assert.Throws<UserErrorException>(() => DiskImage.Open(raw, readOnly: false)).Message);
        using (IDisk disk = DiskImage.Open(raw, readOnly: false, DiskFormat.Raw))
        {
            Assert.Equal(image.Length, disk.Length);
        }

        using (IDisk disk = DiskImage.Open(raw, readOnly: false, DiskFormat.Qcow2))
        {
            Assert.Equal(1 << 20, disk.Length);
        }

        string named = Path.Combine(_folder, "disk.qcow2");
        File.WriteAllBytes(named, new byte[4096]);
        Assert.Contains("format=raw", Assert.Throws<UserErrorException>(() => DiskImage.Open(named, readOnly: false)).Message);

        // Nor by way of an image that builds on it and does not say how.
        string top = Path.Combine(_folder, "top.qcow2");
        var file = new MemoryImage([]);
        Qcow2Layout.Write(top, file, new Qcow2Header { Size = 1 << 20, BackingName = "disk.img" });
        File.WriteAllBytes(top, file.Bytes);
        Assert.Contains("disk.img", Assert.Throws<UserErrorException>(() => DiskImage.Open(top, readOnly: false)).Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_is_written_to_a_snapshot_is_gone(bool qcow2)
    {
        string path = Path.Combine(_folder, qcow2 ? "disk.qcow2" : "disk");
        DiskFiles.Create(path, new NewDisk { Size = 1 << 20, Format = qcow2 ? DiskFormat.Qcow2 : DiskFormat.Raw });
        byte[] before = File.ReadAllBytes(path);
        using (IDisk disk = DiskImage.OpenSnapshot(path))
        {
            var model = new DiskModel(new byte[1 << 20]);
            var random = new Random(9);
            for (int i = 0; i < 100; i++)
            {
                model.Step(disk, random, 64 << 10);
            }

            Assert.Throws<UserErrorException>(() => DiskImage.Open(path, readOnly: false));
            DiskImage.OpenSnapshot(path).Dispose();
        }

        Assert.Equal(before, File.ReadAllBytes(path));
    }

    [Fact]
    public void Who_writes_an_image_has_it_alone_and_may_share_what_it_builds_on()
    {
        string bottom = Path.Combine(_folder, "bottom.qcow2");
        string top = Path.Combine(_folder, "top.qcow2");
        string other = Path.Combine(_folder, "other.qcow2");
        DiskFiles.Create(bottom, new NewDisk { Size = 1 << 20 });
        DiskFiles.Create(top, new NewDisk { Backing = "bottom.qcow2" });
        DiskFiles.Create(other, new NewDisk { Backing = "bottom.qcow2" });
        using IDisk first = DiskImage.Open(top, readOnly: false);
        using IDisk second = DiskImage.Open(other, readOnly: false);
        Assert.Throws<UserErrorException>(() => DiskImage.Open(top, readOnly: true));
        Assert.Throws<UserErrorException>(() => DiskImage.Open(bottom, readOnly: false));
    }

    [Fact]
    public void An_image_is_made_whole_or_not_at_all()
    {
        string path = Path.Combine(_folder, "disk.qcow2");
        DiskFiles.Create(path, new NewDisk { Size = 1 << 20 });
        Assert.Contains("--force", Assert.Throws<UserErrorException>(() => DiskFiles.Create(path, new NewDisk { Size = 1 << 20 })).Message);
        DiskFiles.Create(path, new NewDisk { Size = 2 << 20, Replace = true });
        using var cancelled = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => DiskFiles.Convert(path, null, Path.Combine(_folder, "copy.qcow2"), new NewDisk(), _ => cancelled.Cancel(), cancelled.Token));
        Assert.Throws<UserErrorException>(() => DiskFiles.Create(Path.Combine(_folder, "x"), new NewDisk { Size = 100 }));
        Assert.Equal([path], Directory.GetFiles(_folder));
    }

    [Fact]
    public async Task Several_threads_at_once_each_find_what_they_wrote()
    {
        const int Threads = 4;
        const int Rounds = 400;
        var file = new MemoryImage([]);
        Qcow2Layout.Write("an image", file, new Qcow2Header { Size = 4 << 20, ClusterBits = 12, Compatible = 0 });
        using var disk = Qcow2Disk.Open("an image", file, readOnly: false, null);

        // Neighbours share clusters: every fourth sector is a thread's.
        void Work(int thread)
        {
            var random = new Random(thread);
            byte[][] model = new byte[(4 << 20) / 512][];
            for (int i = 0; i < Rounds; i++)
            {
                int sector = (random.Next(model.Length / Threads) * Threads) + thread;
                byte[] data = new byte[512];
                switch (random.Next(6))
                {
                    case 0:
                        Assert.True(disk.TryFlush());
                        break;
                    case 1:
                        Assert.True(disk.TryWriteZeroes(sector * 512L, 512, mayDiscard: true));
                        model[sector] = data;
                        break;
                    case 2:
                        Assert.True(disk.TryDiscard(sector * 512L, 512)); // Less than a cluster: nothing happens.
                        break;
                    default:
                        random.NextBytes(data);
                        Assert.True(disk.TryWrite(sector * 512L, data));
                        model[sector] = data;
                        break;
                }

                int other = (random.Next(model.Length / Threads) * Threads) + thread;
                byte[] read = new byte[512];
                Assert.True(disk.TryRead(other * 512L, read));
                Assert.Equal(model[other] ?? new byte[512], read);
            }
        }

        await Task.WhenAll(Enumerable.Range(0, Threads).Select(t => Task.Factory.StartNew(() => Work(t), TaskCreationOptions.LongRunning)));
        Assert.True(disk.TryFlush());
        Qcow2Check check = Qcow2Check.Run("an image", file, Qcow2Header.Read("an image", file));
        Assert.True(check.Errors == 0 && check.Unrepairable == 0, string.Join('\n', check.Messages));
    }

    private static MemoryImage Made(int clusterSize, long size)
    {
        var file = new MemoryImage([]);
        Qcow2Layout.Write("an image", file, new Qcow2Header { Size = size, ClusterBits = int.Log2(clusterSize) });
        return file;
    }

    private static void Put(MemoryImage file, long offset, ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        Assert.True(file.TryWrite(offset, bytes));
    }

    private static string Refused(MemoryImage file) =>
        Assert.Throws<UserErrorException>(() => Qcow2Disk.Open("an image", file, readOnly: true, null)).Message;
}
