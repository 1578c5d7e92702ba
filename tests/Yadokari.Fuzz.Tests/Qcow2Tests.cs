using System.Diagnostics;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Disks;

namespace Yadokari.Fuzz.Tests;

/// <summary>
/// qcow2 images that lie: sound ones of many kinds, of our making and of QEMU's, with headers and tables that were changed. They are refused in a
/// sentence, or reading and writing fails; nothing else is thrown, and no lie makes the host give room that the image does not have.
/// </summary>
public sealed class Qcow2Tests
{
    private const int Size = 1 << 20;
    private const long MostAllocated = 512 << 20; // By one life.

    private static readonly Lazy<List<WildImage>> s_images = new(MakeAll);

    [Fact]
    public void Whatever_an_image_says_it_is_refused_or_fails() =>
        Fuzzing.Run("image", Live, ["refused", "opened", "read", "not read", "written", "not written", "sound", "not sound", "repaired"]);

    private static void Live(Random random, Tally tally, string folder)
    {
        WildImage image = s_images.Value[random.Next(s_images.Value.Count)];
        string path = Path.Combine(folder, "disk.qcow2");
        File.WriteAllBytes(Path.Combine(folder, WildImage.BackingName), image.Backing);
        File.WriteAllBytes(path, image.Change(random));
        long before = GC.GetAllocatedBytesForCurrentThread();
        foreach (int step in (int[])[random.Next(5), random.Next(5), random.Next(5)])
        {
            try
            {
                switch (step)
                {
                    case 0:
                        DiskFiles.Describe(path);
                        break;
                    case 1:
                        DiskCheck check = DiskFiles.Check(path, repair: false).Before;
                        tally.Add(check.Errors + check.Leaks == 0 ? "sound" : "not sound");
                        break;
                    case 2:
                        tally.Add(DiskFiles.Check(path, repair: true).After is { Errors: 0 } ? "repaired" : "not repaired");
                        break;
                    default:
                        Use(path, random, tally);
                        break;
                }
            }
            catch (UserErrorException)
            {
                tally.Add("refused");
            }
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, MostAllocated);
    }

    private static void Use(string path, Random random, Tally tally)
    {
        using IDisk disk = DiskImage.Open(path, readOnly: random.Next(4) == 0);
        tally.Add("opened");
        byte[] data = new byte[64 << 10];
        for (int i = random.Next(20); i > 0; i--)
        {
            long reach = random.Next(8) == 0 ? disk.Length : Math.Min(disk.Length, Size);
            long offset = random.NextInt64(reach + 1) / 512 * 512;
            int length = (int)Math.Min(random.Next(data.Length) / 512 * 512, disk.Length - offset);
            switch (random.Next(disk.ReadOnly ? 1 : 5))
            {
                case 0:
                    tally.Add(disk.TryRead(offset, data.AsSpan(0, length)) ? "read" : "not read");
                    break;
                case 1:
                    tally.Add(disk.TryWrite(offset, data.AsSpan(0, length)) ? "written" : "not written");
                    break;
                case 2:
                    disk.TryDiscard(offset, length);
                    break;
                case 3:
                    disk.TryWriteZeroes(offset, length, random.Next(2) == 0);
                    break;
                default:
                    disk.TryFlush();
                    break;
            }
        }
    }

    private static List<WildImage> MakeAll()
    {
        string folder = Directory.CreateTempSubdirectory("yadokari-images-").FullName;
        try
        {
            string raw = Path.Combine(folder, WildImage.BackingName);
            DiskFiles.Create(raw, new NewDisk { Size = Size, Format = DiskFormat.Raw });
            Fill(raw);
            List<WildImage> images = [];
            void Add(string path) => images.Add(new WildImage(File.ReadAllBytes(path), File.ReadAllBytes(raw)));
            void Make(NewDisk disk)
            {
                string path = Path.Combine(folder, $"{images.Count}.qcow2");
                DiskFiles.Create(path, disk);
                Fill(path);
                Add(path);
            }

            Make(new NewDisk { Size = Size, ClusterSize = 512 });
            Make(new NewDisk { Size = Size, ClusterSize = 4096 });
            Make(new NewDisk { Size = Size, ClusterSize = 4096, LazyRefcounts = true });
            Make(new NewDisk { Size = Size });
            Make(new NewDisk { ClusterSize = 4096, Backing = WildImage.BackingName, BackingFormat = DiskFormat.Raw });
            foreach (Qcow2Compression compression in Enum.GetValues<Qcow2Compression>())
            {
                string path = Path.Combine(folder, $"{images.Count}.qcow2");
                DiskFiles.Convert(raw, DiskFormat.Raw, path, new NewDisk { ClusterSize = 4096, Compression = compression }, _ => { }, CancellationToken.None);
                Add(path);
            }

            // Others' images have what ours do not: snapshots, and counts of other widths.
            foreach (string options in (string[])["compat=0.10", "cluster_size=512", "cluster_size=4096,refcount_bits=1", "cluster_size=4096,refcount_bits=64"])
            {
                string path = Path.Combine(folder, $"{images.Count}.qcow2");
                if (TryQemu("create", "-q", "-f", "qcow2", "-o", options, path, $"{Size}"))
                {
                    bool snapshots = !options.Contains("refcount_bits=1", StringComparison.Ordinal);
                    Fill(path);
                    Assert.True(!snapshots || TryQemu("snapshot", "-c", "one", path));
                    Fill(path);
                    Assert.True(!snapshots || TryQemu("snapshot", "-c", "two", path));
                    Add(path);
                }
            }

            return images;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Fill(string path)
    {
        using IDisk disk = DiskImage.Open(path, readOnly: false);
        byte[] data = [.. Enumerable.Range(0, 3000 / 512 * 512).Select(i => (byte)(i / 8))];
        for (int at = 0; at < Size; at += Size / 20 / 512 * 512)
        {
            Assert.True(disk.TryWrite(at, data.AsSpan(0, Math.Min(data.Length, Size - at))));
        }
    }

    private static bool TryQemu(params string[] arguments)
    {
        try
        {
            using Process qemu = Process.Start("qemu-img", arguments);
            qemu.WaitForExit();
            return qemu.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false; // Not installed.
        }
    }
}
