using System.Formats.Tar;
using System.Text;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Host.DefaultGuest;
using Yadokari.Linux;
using Yadokari.Machines;

namespace Yadokari.Host.Recipes;

/// <summary>A system's disk image, and the kernel and initial RAM disk that boot it.</summary>
internal readonly record struct ImageFiles(string Kernel, string Initrd, string Disk)
{
    /// <summary>The files in a folder.</summary>
    public static ImageFiles In(string folder) => new(Path.Combine(folder, "vmlinuz"), Path.Combine(folder, "initrd.img"), Path.Combine(folder, "disk.raw"));
}

/// <summary>
/// Makes the image of a recipe: apt downloads the packages, mke2fs makes an empty file system, and a virtual machine installs the packages.
/// </summary>
internal sealed class DebianImage
{
    /// <summary>The file system's label, by which the kernel finds its root.</summary>
    public const string Label = "yadokari-root";

    private static readonly string[] s_kernelPackages = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

    private readonly Recipe _recipe;
    private readonly string _searchPath;
    private readonly string _work;
    private readonly IProgressReport _progress;
    private readonly CancellationToken _interrupted;

    private DebianImage(Recipe recipe, string searchPath, string work, IProgressReport progress, CancellationToken interrupted)
    {
        _recipe = recipe;
        _searchPath = searchPath;
        _work = work;
        _progress = progress;
        _interrupted = interrupted;
    }

    /// <summary>The image of a recipe in the user's cache; made first if it does not exist.</summary>
    /// <exception cref="UserErrorException">The image can't be made.</exception>
    public static ImageFiles FindOrMake(Recipe recipe, ILongWork work) => FindOrMake(recipe, CacheFolder.OfUser(), work);

    private static ImageFiles FindOrMake(Recipe recipe, string root, ILongWork work)
    {
        CacheFolder cache = Place(recipe, root);
        return cache.IsWhole()
            ? ImageFiles.In(cache.Place)
            : work.Do((progress, interrupted) => Make(recipe, root, HostTool.SearchPath, progress, interrupted));
    }

    /// <summary>Makes an image in a cache, with tools from a search path. Waits if another yado makes the same image.</summary>
    /// <exception cref="OperationCanceledException">The work was cancelled; the cache is unchanged.</exception>
    /// <exception cref="UserErrorException">The image can't be made.</exception>
    public static ImageFiles Make(Recipe recipe, string root, string searchPath, IProgressReport progress, CancellationToken interrupted)
    {
        CacheFolder cache = Place(recipe, root);
        string mke2fs = searchPath + ":/usr/sbin:/sbin"; // Not in the search path of ordinary users.
        foreach (string tool in (ReadOnlySpan<string>)["mke2fs", "debugfs"])
        {
            if (HostTool.TryFind(tool, mke2fs, interrupted) is null)
            {
                throw new UserErrorException($"There is no {tool} on this host, which is needed to make a disk: install e2fsprogs.");
            }
        }

        using FileStream alone = WaitForTurn(cache.Place + ".lock", progress, interrupted);
        cache.FindOrMake((work, whole) => new DebianImage(recipe, mke2fs, work, progress, interrupted).Make(ImageFiles.In(whole)));
        return ImageFiles.In(cache.Place);
    }

    private static CacheFolder Place(Recipe recipe, string root) =>
        new(root, $"image-{recipe.Name}-{recipe.Fingerprint}", 3000, ["vmlinuz", "initrd.img", "disk.raw"]);

    private static FileStream WaitForTurn(string path, IProgressReport progress, CancellationToken interrupted)
    {
        bool told = false;
        while (true)
        {
            interrupted.ThrowIfCancellationRequested();
            try
            {
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (UnauthorizedAccessException error)
            {
                throw new UserErrorException($"The cache folder can't be written ({error.Message.TrimEnd('.')}): set XDG_CACHE_HOME to a folder that can.");
            }
            catch (IOException error) when (error is not (DirectoryNotFoundException or PathTooLongException) && File.Exists(path))
            {
                if (!told)
                {
                    progress.Step("waiting for another yado, which is making this image");
                    told = true;
                }

                Thread.Sleep(200);
            }
            catch (IOException error)
            {
                throw new UserErrorException($"The cache folder can't be written ({error.Message.TrimEnd('.')}): set XDG_CACHE_HOME to a folder that can.");
            }
        }
    }

    private void Make(ImageFiles files)
    {
        var archive = new AptArchive(_recipe.Sources, _searchPath, _work, _progress, _interrupted);
        archive.Download(_recipe.AllPackages);
        string busyboxDeb = archive.DownloadAlone("busybox-static", Path.Combine(_work, "busybox-static"));

        _progress.Step("making the installer");
        string busybox = Path.Combine(_work, "busybox");
        archive.Read(busyboxDeb, entry =>
        {
            if (PathIn(entry.Name) is "bin/busybox" or "usr/bin/busybox")
            {
                Take(entry, busybox);
            }
        });
        string[] debs = [.. Directory.GetFiles(archive.Archives, "*.deb").Order(StringComparer.Ordinal)];
        string drivers = Directory.CreateDirectory(Path.Combine(_work, "drivers")).FullName;
        string version = ReadKernel(archive, debs, files.Kernel, drivers);
        string initrd = Path.Combine(_work, "installer.cpio");
        using (FileStream output = new(initrd, FileMode.CreateNew))
        {
            InstallerRoot.Write(output, File.ReadAllBytes(busybox), Directory.GetFiles(drivers));
        }

        string packages = Path.Combine(_work, "packages.tar");
        int essential = WriteArchive(archive, debs, packages);
        _progress.Step("making the disk");
        Run("mke2fs", "-q", "-t", "ext4", "-L", Label, "-m", "1", "-E", "lazy_itable_init=0,lazy_journal_init=0", files.Disk, $"{_recipe.Size >> 10}k");
        Install(files, initrd, packages, new InstallerConsole(_progress, essential, debs.Length - essential));
        Run("debugfs", "-R", $"dump /boot/initrd.img-{version} {files.Initrd}", files.Disk);
        if (new FileInfo(files.Initrd) is not { Exists: true, Length: > 0 })
        {
            throw new UserErrorException($"The system has no initial RAM disk for its kernel {version}: leave initramfs-tools among the recipe's packages.");
        }
    }

    /// <summary>Extracts the kernel, and the drivers that the installer needs. Returns the kernel's version.</summary>
    /// <exception cref="UserErrorException">There is no kernel, or it lacks a driver that the installer needs.</exception>
    private static string ReadKernel(AptArchive archive, string[] debs, string kernel, string drivers)
    {
        string? version = null;
        HashSet<string> modules = [];
        bool listed = false;

        // Up to Debian 13 all is in linux-image-VERSION, after it in four packages.
        foreach (string deb in debs.Where(d => s_kernelPackages.Any(p => Path.GetFileName(d).StartsWith(p, StringComparison.Ordinal))))
        {
            archive.Read(deb, entry =>
            {
                string path = PathIn(entry.Name);
                path = path.StartsWith("usr/lib/", StringComparison.Ordinal) ? path["usr/".Length..] : path;
                if (KernelVersion(path) is { } found)
                {
                    version = found;
                    Take(entry, kernel);
                }
                else if (KernelModule.NameOf(path) is { } module)
                {
                    modules.Add(module);
                    if (InstallerRoot.Drivers.Contains(module))
                    {
                        Take(entry, Path.Combine(drivers, Path.GetFileName(path)));
                    }
                }
                else if (Path.GetFileName(path) == "modules.builtin" && entry.DataStream is { } list)
                {
                    using var lines = new StreamReader(list, leaveOpen: true);
                    modules.UnionWith(lines.ReadToEnd().Split('\n').Select(KernelModule.NameOf).OfType<string>());
                    listed = true;
                }
            });
        }

        if (version is null)
        {
            throw new UserErrorException("None of the recipe's packages has a kernel: leave its kernel as it is.");
        }

        return !listed || InstallerRoot.NeededDrivers.FirstOrDefault(d => !modules.Contains(d)) is not { } missing
            ? version
            : throw new UserErrorException($"The kernel {version} has no driver {missing}, which the installer needs: give the recipe another kernel or suite.");
    }

    /// <summary>The kernel's version from the path of its file in a package; null for any other file.</summary>
    private static string? KernelVersion(string path)
    {
        const string Boot = "boot/vmlinuz-";
        return path.StartsWith(Boot, StringComparison.Ordinal) ? path[Boot.Length..]
            : path.Split('/') is ["lib", "modules", { } version, "vmlinuz"] ? version
            : null;
    }

    /// <summary>
    /// Writes the archive on the installer's second disk. Since Debian 12, /bin, /lib and /sbin are links to those below /usr, but packages may
    /// still contain files in them. Returns the count of packages in the base system.
    /// </summary>
    private int WriteArchive(AptArchive archive, string[] debs, string path)
    {
        string[] merged = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
        HashSet<string> folders = [.. merged];
        IReadOnlyList<string> names = archive.Closure("?essential", "?priority(required)");
        string[] essential = [.. debs.Where(d => names.Contains(PackageOf(d)))];
        using FileStream output = new(path, FileMode.CreateNew);
        using (var tar = new TarWriter(output, TarEntryFormat.Gnu, leaveOpen: true))
        {
            foreach (string folder in (ReadOnlySpan<string>)["usr", .. merged.Select(m => "usr/" + m), "debs", "etc", "etc/apt", "etc/cloud", "etc/cloud/cloud.cfg.d",
                "var", "var/lib", "var/lib/dpkg", "var/lib/dpkg/info", "var/lib/dpkg/updates"])
            {
                tar.WriteEntry(new GnuTarEntry(TarEntryType.Directory, folder + "/") { Mode = (UnixFileMode)0x1ED });
                folders.Add(folder);
            }

            foreach (string link in merged)
            {
                tar.WriteEntry(new GnuTarEntry(TarEntryType.SymbolicLink, link) { LinkName = "usr/" + link });
            }

            foreach ((int number, string deb) in essential.Index())
            {
                _progress.Fraction(number / (double)essential.Length);
                _progress.Detail(PackageOf(deb));
                archive.Read(deb, entry =>
                {
                    string name = Merged(PathIn(entry.Name));
                    if (name.Length == 0 || (entry.EntryType == TarEntryType.Directory && !folders.Add(name)))
                    {
                        return;
                    }

                    entry.Name = name;
                    if (entry.EntryType == TarEntryType.HardLink)
                    {
                        entry.LinkName = Merged(PathIn(entry.LinkName));
                    }

                    tar.WriteEntry(entry);
                });
            }

            foreach (string deb in debs)
            {
                tar.WriteEntry(deb, "debs/" + Path.GetFileName(deb));
            }

            Text("debs/base", Lines(essential));
            Text("debs/rest", Lines(debs.Except(essential)));
            Text("var/lib/dpkg/status", "");
            Text("etc/fstab", $"LABEL={Label} / ext4 rw,discard,errors=remount-ro 0 1\n");
            Text("etc/apt/sources.list", string.Concat(_recipe.Sources.Select(s => $"deb {s}\n")));
            Text("etc/cloud/cloud.cfg.d/01_yadokari.cfg", CloudConfig);

            void Text(string name, string text) => tar.WriteEntry(
                new GnuTarEntry(TarEntryType.RegularFile, name) { Mode = (UnixFileMode)0x1A4, DataStream = new MemoryStream(Encoding.UTF8.GetBytes(text)) });
        }

        output.SetLength((output.Length + 4095) & ~4095); // A multiple of the sector size.
        return essential.Length;

        static string Lines(IEnumerable<string> paths) => string.Concat(paths.Order(StringComparer.Ordinal).Select(p => $"/debs/{Path.GetFileName(p)}\n"));

        string Merged(string name) => merged.Contains(name) ? "" : merged.Contains(name.Split('/')[0]) ? "usr/" + name : name;
    }

    // cloud-init's data is on a disk or absent: probing for other data sources would only take time.
    private const string CloudConfig =
        """
        datasource_list: [ NoCloud, None ]
        manage_etc_hosts: true
        locale: C.UTF-8

        """;

    private void Install(ImageFiles files, string initrd, string packages, InstallerConsole console)
    {
        const ulong memory = 1UL << 30;
        var options = new RunOptions
        {
            Kernel = files.Kernel,
            Initrd = initrd,
            Devices = [new DiskSpec(files.Disk), new DiskSpec(packages, ReadOnly: true)],
            Memory = Math.Min(memory, HostMemory.Available / 2) & ~((1UL << 20) - 1),
            Cpus = 1, // dpkg has a single thread.
            ConsoleTo = "none",
        };
        using var machine = new PcGuest(options, new BootFiles(files.Kernel, initrd, MachineSpec.DefaultAppend + " quiet mitigations=off"), console, null);
        MachineEnd end;
        using (_interrupted.Register(machine.Stop))
        {
            end = machine.Run();
        }

        _interrupted.ThrowIfCancellationRequested();
        if (end.Reason != EndReason.PowerOff || !console.IsDone)
        {
            string reason = console.Failure ?? end.Panic ?? end.Reason.ToString();
            string remedy = reason.StartsWith("dpkg", StringComparison.Ordinal) ? Remedy : "run yado again, or give the recipe another kernel or suite";
            throw new UserErrorException($"Debian can't be installed ({reason.TrimEnd('.')}): {remedy}.");
        }
    }

    private const string Remedy = "check the recipe's packages, and run yado again";

    private void Run(string tool, params ReadOnlySpan<string> arguments)
    {
        HostTool.Outcome outcome = HostTool.Find(tool, _searchPath, _interrupted).Run(_work, arguments);
        if (outcome.DiskFull)
        {
            throw new DiskFullException();
        }

        if (outcome.ExitCode != 0)
        {
            throw new UserErrorException($"{tool} can't make the disk ({outcome.Reason}): {Remedy}.");
        }
    }

    private static string PackageOf(string deb) => Path.GetFileName(deb).Split('_')[0];

    private static string PathIn(string name) => name.TrimStart('.').Trim('/');

    private static void Take(TarEntry entry, string target)
    {
        if (entry.DataStream is not null && !File.Exists(target))
        {
            using FileStream file = new(target, FileMode.CreateNew);
            entry.DataStream.CopyTo(file);
        }
    }
}
