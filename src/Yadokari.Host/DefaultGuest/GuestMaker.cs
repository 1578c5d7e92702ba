using Yadokari.Boards.Specs;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>The guest that runs when the user names none: Debian's own kernel for clouds and a busybox shell.</summary>
internal static class GuestMaker
{
    /// <summary>Debian's package, and what Ubuntu has in its place.</summary>
    private static readonly string[] s_kernels = ["linux-image-cloud-amd64", "linux-image-virtual"];

    /// <summary>What the kernel is told: little to say, and nothing to look for that this machine has not got.</summary>
    public const string CommandLine = MachineSpec.DefaultAppend + " quiet mitigations=off 8250.nr_uarts=1";

    // Found by trial: with 76M one processor comes up, with 128M 32 do; with 72M and 96M they are often deadlocked on memory.
    private const ulong LeastMemory = 80UL << 20;

    /// <summary>Looks whether the guest can come up in a machine.</summary>
    /// <exception cref="UserErrorException">Its kernel would panic.</exception>
    public static void CheckMemory(RunOptions options) => options.CheckMemoryFor("the default guest", LeastMemory);

    /// <summary>The user's guest, made if it is not there yet.</summary>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public static GuestFiles FindOrMake(ILongWork work)
    {
        var cache = GuestCache.OfUser();
        if (cache.TryFind() is { } there)
        {
            return there;
        }

        return work.Do((progress, interrupted) => Make(cache, HostTool.SearchPath, progress, interrupted));
    }

    /// <summary>Makes the guest in a cache with tools from a search path.</summary>
    /// <exception cref="OperationCanceledException">It was interrupted; the cache is as it was.</exception>
    public static GuestFiles Make(GuestCache cache, string searchPath, IProgressReport progress, CancellationToken interrupted) =>
        cache.FindOrMake((work, files) =>
        {
            var packages = new DebianPackages(searchPath, work, progress, interrupted);
            progress.Step("looking for a Debian kernel");
            string[]? debs = null;
            while (debs is null)
            {
                (DebianPackages.Package kernel, DebianPackages.Package busybox) = packages.Find(s_kernels);
                debs = packages.Download(kernel, busybox);
            }

            progress.Step("making the guest");
            string drivers = Directory.CreateDirectory(Path.Combine(work, "drivers")).FullName;
            packages.Extract(debs[0], path => path.StartsWith("boot/vmlinuz-", StringComparison.Ordinal) ? files.Kernel
                : IsDriver(path) ? Path.Combine(drivers, Path.GetFileName(path)) : null);
            progress.Fraction(0.8);
            string busyboxFile = Path.Combine(work, "busybox");
            packages.Extract(debs[1], path => path is "bin/busybox" or "usr/bin/busybox" ? busyboxFile : null);
            using FileStream initrd = new(files.Initrd, FileMode.CreateNew);
            GuestRoot.Write(initrd, File.ReadAllBytes(busyboxFile), Directory.GetFiles(drivers));
        });

    // Kernels that have them built in have no such files.
    private static bool IsDriver(string path) => KernelModule.NameOf(path) is { } name && GuestRoot.Drivers.Concat(GuestRoot.MoreDrivers).Contains(name);
}
