using Yadokari.Boards.Specs;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>Makes the guest that runs if the user names no kernel: Debian's cloud kernel and a busybox shell.</summary>
internal static class GuestMaker
{
    /// <summary>The kernel's metapackages: Debian's, and Ubuntu's.</summary>
    private static readonly string[] s_kernels = ["linux-image-cloud-amd64", "linux-image-virtual"];

    /// <summary>The kernel's default command line: few messages, and no probing for hardware that the machine does not have.</summary>
    public const string CommandLine = MachineSpec.DefaultAppend + " quiet mitigations=off 8250.nr_uarts=1";

    // Measured: 76M suffice for one processor and 128M for 32; with 72M and 96M they often deadlock for lack of memory.
    private const ulong LeastMemory = 80UL << 20;

    /// <summary>Checks that the machine has enough memory for the guest.</summary>
    /// <exception cref="UserErrorException">The memory is too small: the kernel would panic.</exception>
    public static void CheckMemory(RunOptions options) => options.CheckMemoryFor("the default guest", LeastMemory);

    /// <summary>The guest in the user's cache; made first if it does not exist.</summary>
    /// <exception cref="UserErrorException">The guest can't be made.</exception>
    public static GuestFiles FindOrMake(ILongWork work)
    {
        var cache = GuestCache.OfUser();
        if (cache.TryFind() is { } there)
        {
            return there;
        }

        return work.Do((progress, interrupted) => Make(cache, HostTool.SearchPath, progress, interrupted));
    }

    /// <summary>Makes the guest in a cache, with tools from a search path.</summary>
    /// <exception cref="OperationCanceledException">The work was cancelled; the cache is unchanged.</exception>
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

    // Kernels with built-in drivers have no such files.
    private static bool IsDriver(string path) => KernelModule.NameOf(path) is { } name && GuestRoot.Drivers.Concat(GuestRoot.MoreDrivers).Contains(name);
}
