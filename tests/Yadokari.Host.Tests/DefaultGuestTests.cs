using System.Diagnostics;
using System.Text;
using Xunit;
using Yadokari.Core;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Tests;

public sealed class DefaultGuestTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;
    private readonly ScriptedTools _tools;

    public DefaultGuestTests() => _tools = new ScriptedTools(Path.Combine(_folder, "tools"));

    private string CacheRoot => Path.Combine(_folder, "cache");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static void WriteGuest(string work, GuestFiles files)
    {
        File.WriteAllText(Path.Combine(work, "scratch"), "scratch");
        File.WriteAllText(files.Kernel, "kernel");
        File.WriteAllText(files.Initrd, "initrd");
    }

    private string Refusal()
    {
        string message = Assert.Throws<UserErrorException>(() =>
            GuestMaker.Make(new GuestCache(CacheRoot), _tools.Folder, new NoProgress(), CancellationToken.None)).Message;
        Sentence.Check(message);
        Assert.False(Directory.Exists(CacheRoot)); // Nothing half-made stays, nor what was made to hold it.
        return message;
    }

    [Fact]
    public void A_guest_is_made_once()
    {
        int made = 0;
        for (int i = 0; i < 2; i++)
        {
            GuestFiles files = new GuestCache(CacheRoot).FindOrMake((work, making) =>
            {
                made++;
                WriteGuest(work, making);
            });
            Assert.Equal("kernel", File.ReadAllText(files.Kernel));
            Assert.Equal("initrd", File.ReadAllText(files.Initrd));
        }

        Assert.Equal(1, made);
        Assert.Single(Directory.EnumerateFileSystemEntries(CacheRoot));
    }

    [Fact]
    public void What_fails_half_way_is_not_there()
    {
        var cache = new GuestCache(CacheRoot);
        Assert.Throws<InvalidOperationException>(() => cache.FindOrMake((_, files) =>
        {
            File.WriteAllText(files.Kernel, "half");
            throw new InvalidOperationException();
        }));
        Assert.Null(cache.TryFind());
        Assert.False(Directory.Exists(CacheRoot));
    }

    [Fact]
    public void What_is_interrupted_ends_its_tools_and_is_not_there()
    {
        _tools.AddFailing("apt-cache");
        _tools.Add("apt-get", "exec sleep 1000");
        _tools.AddFailing("dpkg-deb");
        using var interrupted = new CancellationTokenSource();
        var progress = new InterruptAt("fetching", interrupted);
        Assert.ThrowsAny<OperationCanceledException>(() => GuestMaker.Make(new GuestCache(CacheRoot), _tools.Folder, progress, interrupted.Token));
        Assert.False(Directory.Exists(CacheRoot));
    }

    private sealed class InterruptAt(string step, CancellationTokenSource source) : IProgressReport
    {
        public void Step(string what)
        {
            if (what.StartsWith(step, StringComparison.Ordinal))
            {
                source.CancelAfter(100);
            }
        }

        public void Fraction(double done)
        {
        }

        public void Detail(string what)
        {
        }
    }

    [Fact]
    public void What_a_killed_yado_left_is_not_used_and_removed()
    {
        var cache = new GuestCache(CacheRoot);
        string left = Path.Combine(CacheRoot, ".making-2147483646-0", "whole");
        Directory.CreateDirectory(left);
        File.WriteAllText(Path.Combine(left, "vmlinuz"), "half");
        Assert.Null(cache.TryFind());
        cache.FindOrMake(WriteGuest);
        Assert.Equal([cache.Place], Directory.EnumerateFileSystemEntries(CacheRoot));
    }

    [Fact]
    public void A_damaged_guest_is_made_again()
    {
        var cache = new GuestCache(CacheRoot);
        File.WriteAllText(cache.FindOrMake(WriteGuest).Kernel, "ker");
        Assert.Null(cache.TryFind());
        Assert.Equal("kernel", File.ReadAllText(cache.FindOrMake(WriteGuest).Kernel));
        Assert.Equal([cache.Place], Directory.EnumerateFileSystemEntries(CacheRoot));
    }

    [Fact]
    public void Another_yado_may_come_first()
    {
        var cache = new GuestCache(CacheRoot);
        GuestFiles files = cache.FindOrMake((work, making) =>
        {
            new GuestCache(CacheRoot).FindOrMake(WriteGuest);
            WriteGuest(work, making);
        });
        Assert.Equal("kernel", File.ReadAllText(files.Kernel));
        Assert.Equal([cache.Place], Directory.EnumerateFileSystemEntries(CacheRoot));
    }

    [Fact]
    public void A_full_disk_gets_one_sentence()
    {
        const int Enospc = 28;
        var full = new IOException("No space left on device", Enospc);
        string message = Assert.Throws<UserErrorException>(() => new GuestCache(CacheRoot).FindOrMake((_, _) => throw full)).Message;
        Assert.Contains("is full", message);
        Sentence.Check(message);
    }

    [Fact]
    public void A_cache_folder_that_can_not_be_gets_one_sentence()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        string message = Assert.Throws<UserErrorException>(() => new GuestCache(Path.Combine(file, "cache")).FindOrMake(WriteGuest)).Message;
        Assert.Contains("XDG_CACHE_HOME", message);
        Sentence.Check(message);
    }

    [Fact]
    public void No_apt_get() => Assert.Contains("There is no apt-get", Refusal());

    [Fact]
    public void No_network()
    {
        _tools.AddFailing("apt-get", "W: something mild\nE: Failed to fetch http://example.org/  Temporary failure resolving 'example.org'");
        _tools.AddFailing("apt-cache");
        _tools.AddFailing("dpkg-deb");
        string message = Refusal();
        Assert.Contains("package lists can't be fetched (Failed to fetch", message);
        Assert.Contains("check the network", message);
    }

    [Fact]
    public void Apt_runs_out_of_disk()
    {
        _tools.AddFailing("apt-get", "E: Write error - write (28: No space left on device)");
        _tools.AddFailing("apt-cache");
        _tools.AddFailing("dpkg-deb");
        Assert.Contains("is full", Refusal());
    }

    [Fact]
    public void A_distribution_without_the_packages()
    {
        _tools.Add("apt-get", "mkdir -p apt/lists; : >apt/lists/x_Packages");
        _tools.AddFailing("apt-cache");
        _tools.AddFailing("dpkg-deb");
        Assert.Contains("have no linux-image-cloud-amd64", Refusal());
    }

    [Fact]
    public void Stale_lists_are_fetched_anew_and_packages_become_a_guest()
    {
        // Downloads fail until lists of our own are there.
        _tools.Add("apt-cache", "for n; do :; done; echo \"Version: 1.0\"; echo \"Size: 10\"; echo \"Depends: linux-image-6.1.0-9-cloud-amd64 (= 1.0)\"");
        _tools.Add(
            "apt-get",
            """
            case "$*" in
            *update*) mkdir -p apt/lists; : >apt/lists/x_Packages ;;
            *apt.conf*linux-image-6.1.0-9-cloud-amd64=1.0*busybox-static=1.0*) : >linux-image-6.1.0-9-cloud-amd64_1.0_amd64.deb; : >busybox-static_1.0_amd64.deb ;;
            *) echo "E: 404 Not Found" >&2; exit 100 ;;
            esac
            """);
        _tools.AddContents(
            """
            mkdir -p boot bin lib/modules/6; echo config >boot/config-6; echo kernel >boot/vmlinuz-6; echo box >bin/busybox
            echo driver >lib/modules/6/virtio_blk.ko; echo another >lib/modules/6/floppy.ko
            """);
        GuestFiles files = GuestMaker.Make(new GuestCache(CacheRoot), _tools.Folder, new NoProgress(), CancellationToken.None);
        Assert.Equal("kernel\n", File.ReadAllText(files.Kernel));
        Assert.Contains("box\n", File.ReadAllText(files.Initrd));
        Assert.Contains("driver\n", File.ReadAllText(files.Initrd));
        Assert.DoesNotContain("another\n", File.ReadAllText(files.Initrd));
    }

    [Theory]
    [InlineData("virtio_blk.ko", "cat")]
    [InlineData("virtio-blk.ko.xz", "xz --check=crc32 --lzma2=dict=1MiB -c")]
    [InlineData("virtio_blk.ko.zst", "zstd -c")]
    [InlineData("virtio_blk.ko.gz", "gzip -c")]
    public void A_module_is_in_the_archive_as_the_kernel_takes_it(string file, string packer)
    {
        string[] command = packer.Split(' ');
        Assert.SkipUnless(File.Exists("/usr/bin/" + command[0]), $"{command[0]} is not installed.");
        string plain = Path.Combine(_folder, "plain");
        string content = "\x7fELF" + string.Concat(Enumerable.Range(0, 30_000).Select(i => $"{i * 7919 % 1000} "));
        File.WriteAllText(plain, content);
        string module = Path.Combine(_folder, file);
        using (Process process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", $"{packer} {plain} >{module}"]))!)
        {
            process.WaitForExit();
            Assert.Equal(0, process.ExitCode);
        }

        Assert.Equal("virtio_blk", KernelModule.NameOf("lib/modules/6/kernel/drivers/block/" + file));
        Assert.Equal(content, Encoding.UTF8.GetString(KernelModule.Read(module)));
        var archive = new MemoryStream();
        GuestRoot.Write(archive, "busybox"u8, [module]);
        Assert.Contains("lib/modules/virtio_blk.ko\0", Encoding.UTF8.GetString(archive.ToArray()));
        Assert.Contains(content, Encoding.UTF8.GetString(archive.ToArray()));
        if (packer != "cat")
        {
            byte[] packed = File.ReadAllBytes(module);
            File.WriteAllBytes(module, packed[..(packed.Length / 2)]);
            Sentence.Check(Assert.Throws<UserErrorException>(() => KernelModule.Read(module)).Message);
        }
    }

    [Theory]
    [InlineData("boot/vmlinuz-6.12")]
    [InlineData("virtio_blk.ko.sig")]
    [InlineData("xko")]
    public void Files_that_are_no_modules(string path) => Assert.Null(KernelModule.NameOf(path));

    [Fact]
    public void A_cpio_archive_is_what_cpio_reads()
    {
        var stream = new MemoryStream();
        GuestRoot.Write(stream, "a busybox of odd length"u8, []);
        Assert.Equal(0, stream.Length % 4);

        Assert.SkipUnless(File.Exists("/usr/bin/cpio") || File.Exists("/bin/cpio"), "cpio is not installed");
        using Process cpio = Process.Start(new ProcessStartInfo("cpio", ["-tv", "--quiet", "--numeric-uid-gid"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            Environment = { ["LC_ALL"] = "C" },
        })!;
        stream.Position = 0;
        stream.CopyTo(cpio.StandardInput.BaseStream);
        cpio.StandardInput.Close();
        string list = cpio.StandardOutput.ReadToEnd();
        cpio.WaitForExit();
        Assert.Equal(0, cpio.ExitCode);
        Assert.Matches(@"(?m)^crw------- +1 0 +0 +5, +1 .* dev/console$", list);
        Assert.Matches(@"(?m)^-rwxr-xr-x +1 0 +0 +23 .* bin/busybox$", list);
        Assert.Matches(@"(?m)^lrwxrwxrwx .* bin/sh -> busybox$", list);
        Assert.Matches(@"(?m)^drwxr-xr-x +2 0 .* usr/sbin$", list);
        Assert.Matches($@"(?m)^-rwxr-xr-x +1 0 +0 +{Encoding.UTF8.GetByteCount(GuestRoot.Init)} .* init$", list);
    }
}
