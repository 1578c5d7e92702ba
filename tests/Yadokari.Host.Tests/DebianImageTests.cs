using Xunit;
using Yadokari.Core;
using Yadokari.Host.DefaultGuest;
using Yadokari.Host.Recipes;

namespace Yadokari.Host.Tests;

/// <summary>What becomes of images that can't be made; one that can is booted by the tests of guests.</summary>
public sealed class DebianImageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;
    private readonly ScriptedTools _tools;

    public DebianImageTests()
    {
        _tools = new ScriptedTools(Path.Combine(_folder, "tools"));
        Assert.SkipUnless(File.Exists("/usr/sbin/mke2fs") || File.Exists("/sbin/mke2fs"), "mke2fs is not installed.");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string CacheRoot => Path.Combine(_folder, "cache");

    private ImageFiles Make(IProgressReport? progress = null, CancellationToken interrupted = default) =>
        DebianImage.Make(Recipe.Find("debian"), CacheRoot, _tools.Folder, progress ?? new NoProgress(), interrupted);

    private void Refuses(string says)
    {
        string message = Assert.Throws<UserErrorException>(() => Make()).Message;
        Sentence.Check(message);
        Assert.Contains(says, message);
        Assert.Empty(Directory.EnumerateDirectories(CacheRoot)); // Nothing half-made stays.
    }

    [Fact]
    public void Tools_and_packages_that_can_not_be_had()
    {
        Refuses("There is no apt-get");
        _tools.AddFailing("apt-get", "E: no such host");
        Refuses("There is no dpkg-deb");
        _tools.AddFailing("dpkg-deb");
        Refuses("no such host");
        _tools.Add("apt-get", "case \"$*\" in *update*) exit 0;; esac; echo 'E: Unable to locate package gcc' >&2; exit 100");
        Refuses("Unable to locate package gcc");
    }

    [Fact]
    public void A_kernel_that_can_not_install_is_named()
    {
        _tools.AddDownloads([], ["linux-base-7", "linux-binary-7", "linux-modules-7"]);
        _tools.AddContents(
            """
            mkdir -p usr/bin usr/lib/modules/7.2/kernel/fs
            for a; do case "$a" in
            *busybox*) echo box >usr/bin/busybox ;;
            *linux-base*) printf 'kernel/drivers/virtio/virtio_pci.ko\nkernel/fs/ext4/ext4.ko\n' >usr/lib/modules/7.2/modules.builtin ;;
            *linux-binary*) echo kernel >usr/lib/modules/7.2/vmlinuz ;;
            *linux-modules*) echo module >usr/lib/modules/7.2/kernel/fs/ext2.ko.xz ;;
            esac; done
            """);
        Refuses("The kernel 7.2 has no driver virtio_blk,");
    }

    [Fact]
    public void What_the_installer_gets_is_told_by_package()
    {
        _tools.AddDownloads(["base-files", "libc6"], ["linux-image-7"]);
        _tools.AddContents(
            """
            mkdir -p bin boot
            for a; do case "$a" in
            *busybox*) echo box >bin/busybox ;;
            *linux-image*) echo kernel >boot/vmlinuz-7.2 ;;
            esac; done
            """);
        _tools.AddFailing("mke2fs", "no room");
        _tools.AddFailing("debugfs");
        var progress = new StepsAndDetails();
        Assert.Contains("mke2fs can't make the disk", Assert.Throws<UserErrorException>(() => Make(progress, TestContext.Current.CancellationToken)).Message);
        Assert.Equal(["making the installer", "- base-files", "- libc6", "making the disk"], progress.Said[^4..]);
    }

    [Fact]
    public void Who_comes_second_waits_and_may_be_interrupted()
    {
        _tools.AddFailing("apt-get", "E: reached");
        _tools.AddFailing("dpkg-deb");
        Refuses("reached");
        string held = Directory.GetFiles(CacheRoot, "*.lock").Single();
        using var interrupted = new CancellationTokenSource();
        using (new FileStream(held, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
        {
            var progress = new CancelAt("waiting", interrupted.Cancel);
            Assert.ThrowsAny<OperationCanceledException>(() => Make(progress, interrupted.Token));
        }

        // Once the first is done the second has its turn.
        var first = new FileStream(held, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        Assert.Contains("reached", Assert.Throws<UserErrorException>(() => Make(new CancelAt("waiting", first.Dispose), TestContext.Current.CancellationToken)).Message);
    }

    private sealed class StepsAndDetails : IProgressReport
    {
        public List<string> Said { get; } = [];

        public void Step(string what) => Said.Add(what);

        public void Fraction(double done)
        {
        }

        public void Detail(string what) => Said.Add($"- {what}");
    }

    private sealed class CancelAt(string step, Action action) : IProgressReport
    {
        public void Step(string what)
        {
            if (what.StartsWith(step, StringComparison.Ordinal))
            {
                action();
            }
        }

        public void Fraction(double done)
        {
        }

        public void Detail(string what)
        {
        }
    }
}
