using System.IO.Compression;
using System.Reflection;
using System.Text;
using Yadokari.Core.Files;

namespace Yadokari.Guests;

/// <summary>
/// The guests that tests and benchmarks boot: Debian 12's kernels, and initial RAM file systems made from its packages. Each is built once
/// and then taken from the cache; a change of a script or of the package list makes a new one.
/// </summary>
/// <remarks>
/// The images' <c>/init</c> reads parameters on the kernel's command line: <c>yado.run=NAME[,NAME...]</c> runs workloads (or the image's
/// program), <c>yado.scale=PERCENT</c> scales these, <c>yado.end=poweroff|reboot|panic|shell</c> is the action at the end. Without
/// <c>yado.run</c> and <c>yado.end</c> a shell runs on the console.
/// </remarks>
public sealed class GuestImages(GuestCache cache)
{
    /// <summary>The permissions of a program, 0755.</summary>
    internal const uint Executable = 0x1ED;

    /// <summary>The permissions of a file that is only read, 0644.</summary>
    internal const uint Readable = 0x1A4;

    private const string Format = "2";

    private static readonly string[] s_packages =
    [
        "busybox-static", "perl-base", "gzip", "xz-utils", "coreutils", "openssl", "libssl3", "mawk", "luajit", "libluajit-5.1-2",
        "libluajit-5.1-common", "bash", "libtinfo6", "libc6", "libcrypt1", "libacl1", "libattr1", "libselinux1", "libpcre2-8-0", "libgmp10",
        "liblzma5", "libgcc-s1", "zlib1g",
    ];

    private static readonly string[] s_programs =
    [
        "bin/bash", "bin/gzip", "bin/cat", "bin/true", "usr/bin/perl", "usr/bin/xz", "usr/bin/sort", "usr/bin/sha256sum", "usr/bin/md5sum",
        "usr/bin/seq", "usr/bin/wc", "usr/bin/mawk", "usr/bin/openssl", "usr/bin/luajit", "lib64/ld-linux-x86-64.so.2",
        "usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so",
    ];

    private static readonly string[] s_nodePackages =
    [
        "nodejs", "libnode108", "libbrotli1", "libc-ares2", "libicu72", "libnghttp2-14", "libssl3", "libstdc++6", "libuv1", "zlib1g", "libc6",
        "libgcc-s1", "node-acorn", "node-cjs-module-lexer", "node-undici", "node-busboy", "busybox-static",
    ];

    private static readonly string[] s_compilerPackages =
    [
        "openjdk-17-jre-headless", "pypy3", "pypy3-lib", "libbz2-1.0", "libexpat1", "libffi8", "libgdbm6", "libncursesw6", "libtinfo6", "libsqlite3-0", "libssl3",
        "libstdc++6", "libjpeg62-turbo", "liblzma5", "zlib1g", "libc6", "libgcc-s1", "busybox-static",
    ];

    private static readonly string[] s_javaLibraries = ["java", "jli", "zip", "net", "nio", "jimage", "verify"];

    private static readonly string[] s_stressPackages =
    [
        "stress-ng", "libapparmor1", "libbsd0", "libmd0", "libcrypt1", "libdrm2", "libegl1", "libexpat1", "libffi8", "libgbm1", "libgles2", "libglvnd0",
        "libipsec-mb1", "libjpeg62-turbo", "libjudydebian1", "libkmod2", "liblzma5", "libsctp1", "libssl3", "libwayland-server0", "libxxhash0", "libzstd1", "zlib1g",
        "libc6", "busybox-static",
    ];

    private static readonly string[] s_scripts =
        ["guest-lib.sh", "workloads.sh", "exercise.sh", "selftests.sh", "stress.sh", "Compiled.java", "compiled.py"];

    private readonly DebianArchive _archive = new(cache);
    private readonly DebianArchive _archive32 = new(cache, "i386");

    /// <summary>The bzImage of one of Debian's kernels.</summary>
    public string Kernel(KernelFlavour flavour)
    {
        var archive = Is32Bit(flavour) ? _archive32 : _archive;
        var package = archive.Dependency(flavour switch
        {
            KernelFlavour.Cloud => "linux-image-cloud-amd64",
            KernelFlavour.Generic => "linux-image-amd64",
            KernelFlavour.I686 => "linux-image-686",
            _ => "linux-image-686-pae",
        });
        return cache.GetOrBuild($"kernels/{package}", draft =>
        {
            var unpacked = draft + ".d";
            try
            {
                DebianArchive.Unpack(archive.Fetch($"kernel-{flavour}".ToLowerInvariant(), package), unpacked, "./boot/vmlinuz-*");
                File.Move(Directory.EnumerateFiles(Path.Combine(unpacked, "boot")).Single(), draft);
            }
            finally
            {
                Directory.Delete(unpacked, recursive: true);
            }
        });
    }

    /// <summary>busybox and <c>/init</c> alone: the smallest thing that reaches a shell. An uncompressed cpio archive of about 2 MB.</summary>
    /// <param name="flavour">The kernel that is to run it.</param>
    public string MiniInitrd(KernelFlavour flavour = KernelFlavour.Cloud) =>
        Is32Bit(flavour) ? Image("mini32", ["busybox-static"], static (_, _) => { }, _archive32) : Image("mini", s_packages, static (_, _) => { });

    private static bool Is32Bit(KernelFlavour flavour) => flavour is KernelFlavour.I686 or KernelFlavour.I686Pae;

    /// <summary>busybox, perl, awk, gzip, xz, sort, sha256sum, openssl, LuaJIT and bash with the workloads. An uncompressed cpio archive of about 30 MB.</summary>
    public string BenchInitrd() => Image("bench", s_packages, static (tree, archive) =>
    {
        foreach (var program in s_programs)
            tree.Copy(archive, program);
        tree.CopyFolder(archive, "usr/lib/x86_64-linux-gnu/perl-base");
        archive.AddSymbolicLink("usr/bin/awk", "mawk");
        AddScripts(archive);
    });

    /// <summary>busybox and node. An uncompressed cpio archive of about 100 MB: give the guest 1 GiB.</summary>
    public string NodeInitrd() => Image("node", s_nodePackages, static (tree, archive) =>
    {
        tree.Copy(archive, "usr/bin/node");
        tree.Copy(archive, "lib64/ld-linux-x86-64.so.2");
        foreach (var folder in Directory.EnumerateDirectories(Path.Combine(tree.Folder, "usr/share/nodejs")))
            tree.CopyFolder(archive, Path.GetRelativePath(tree.Folder, folder));
        AddScripts(archive);
    });

    /// <summary>busybox, OpenJDK and PyPy. An uncompressed cpio archive of about 220 MB: give the guest 2 GiB.</summary>
    public string CompilerInitrd() => Image("compilers", s_compilerPackages, static (tree, archive) =>
    {
        const string Java = "usr/lib/jvm/java-17-openjdk-amd64";
        tree.Copy(archive, $"{Java}/bin/java");
        foreach (var library in s_javaLibraries)
            tree.Copy(archive, $"{Java}/lib/lib{library}.so");
        tree.CopyFolder(archive, $"{Java}/lib/server");
        tree.Copy(archive, $"{Java}/lib/modules");
        tree.Copy(archive, $"{Java}/lib/jvm.cfg");
        tree.Copy(archive, $"{Java}/lib/tzdb.dat");
        tree.CopyFolder(archive, $"{Java}/conf/security");
        tree.CopyFolder(archive, "etc/java-17-openjdk/security");
        tree.Copy(archive, "usr/bin/pypy3");
        tree.CopyFolder(archive, "usr/lib/pypy3.9");
        tree.Copy(archive, "lib64/ld-linux-x86-64.so.2");
        AddScripts(archive);
    });

    /// <summary>busybox and stress-ng.</summary>
    public string StressInitrd() => Image("stress", s_stressPackages, static (tree, archive) =>
    {
        tree.Copy(archive, "usr/bin/stress-ng");
        tree.Copy(archive, "lib64/ld-linux-x86-64.so.2");
        AddScripts(archive);
    });

    /// <summary>busybox and the x86 selftests of Linux's own source, of 32 and 64 bits, built by the host's compiler.</summary>
    public string SelftestsInitrd()
    {
        var folder = Selftests();
        return Image($"selftests-{Path.GetFileName(folder)}", s_packages, (_, archive) =>
        {
            foreach (var program in Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal))
                archive.AddFile($"selftests/{Path.GetFileName(program)}", Executable, File.ReadAllBytes(program));
            AddScripts(archive);
        });
    }

    /// <summary>busybox, the cloud kernel's drivers for virtio, and <c>/disk/disk.sh</c>, which is to be run in the shell.</summary>
    public string DiskInitrd()
    {
        var package = _archive.Dependency("linux-image-cloud-amd64");
        var script = Script("disk.sh");
        return Image($"disk-{GuestCache.Fingerprint([package, script])}", s_packages, (_, archive) =>
        {
            AddModules(archive, "disk", _archive.Fetch("kernel-cloud", package), "./lib/modules/*/virtio*.ko");
            archive.AddFile("disk/disk.sh", Readable, Encoding.UTF8.GetBytes(script));
        });
    }

    /// <summary>busybox, and the generic kernel's driver for floppies, <c>/floppy/floppy.ko</c>.</summary>
    public string FloppyInitrd()
    {
        var package = _archive.Dependency("linux-image-amd64");
        return Image(
            $"floppy-{GuestCache.Fingerprint([package])}", s_packages,
            (_, archive) => AddModules(archive, "floppy", _archive.Fetch("kernel-generic", package), "./lib/modules/*/floppy.ko"));
    }

    /// <summary>The folder that <see cref="CompilerInitrd"/> was made from, for <see cref="HostRun.ExerciseInside"/>.</summary>
    public string CompilerTree() => Tree("compilers", s_compilerPackages, _archive).Folder;

    /// <summary>
    /// The folder that <see cref="BenchInitrd"/> was made from, with the scripts under <c>yado/</c>, for running the very same programs on
    /// the host: scripts called with <c>ROOT</c> set to it start each program through its own loader and libraries.
    /// </summary>
    public string BenchTree() => Tree("bench", s_packages, _archive).Folder;

    /// <summary>The same for <see cref="NodeInitrd"/>.</summary>
    public string NodeTree() => Tree("node", s_nodePackages, _archive).Folder;

    /// <summary>A file of one of Debian's packages: a hypervisor, a memory tester, an installer.</summary>
    /// <param name="package">The package.</param>
    /// <param name="member">A pattern of tar's that names one file, such as <c>./boot/xen-*.gz</c>.</param>
    /// <param name="architecture">In Debian's words.</param>
    public string FileOf(string package, string member, string architecture = "amd64") =>
        cache.GetOrBuild($"files/{package}-{GuestCache.Fingerprint([member])}", draft =>
        {
            var unpacked = draft + ".d";
            try
            {
                DebianArchive.Unpack((architecture == "amd64" ? _archive : _archive32).Fetch(package, package), unpacked, member);
                File.Move(Directory.EnumerateFiles(unpacked, "*", SearchOption.AllDirectories).Single(), draft);
            }
            finally
            {
                Directory.Delete(unpacked, recursive: true);
            }
        });

    /// <summary>
    /// An image made by <c>grub-mkrescue</c> whose GRUB starts the cloud kernel with <see cref="MiniInitrd"/>: for a CD or, with the boot sector
    /// that it has too, a disk.
    /// </summary>
    public string GrubImage()
    {
        var kernel = Kernel(KernelFlavour.Cloud);
        var initrd = MiniInitrd();
        return cache.GetOrBuild($"images/grub-{GuestCache.Fingerprint([kernel, initrd])}.iso", draft =>
        {
            var folder = Directory.CreateTempSubdirectory("yadokari-grub-").FullName;
            try
            {
                var grub = Directory.CreateDirectory(Path.Combine(folder, "boot", "grub")).FullName;
                File.Copy(kernel, Path.Combine(folder, "boot", "vmlinuz"));
                File.Copy(initrd, Path.Combine(folder, "boot", "initrd"));
                File.WriteAllText(Path.Combine(grub, "grub.cfg"), """
                    set timeout=0
                    menuentry "Linux" {
                        linux /boot/vmlinuz console=ttyS0 quiet
                        initrd /boot/initrd
                    }

                    """);
                HostCommand.Run("grub-mkrescue", "grub-common", folder, "-o", draft, folder);
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        });
    }

    /// <summary>A gzip-compressed copy of an image, beside it.</summary>
    public string Compressed(string image) => cache.GetOrBuild(Path.GetRelativePath(cache.Root, image) + ".gz", draft =>
    {
        using var input = File.OpenRead(image);
        using var output = new GZipStream(File.Create(draft), CompressionLevel.Optimal);
        input.CopyTo(output);
    });

    private string Selftests()
    {
        const string Source = "linux-source-6.1";
        var package = _archive.Fetch("linux-source", Source)[0];
        return cache.GetOrBuild($"selftests/{GuestCache.Fingerprint([Path.GetFileName(package)])}", draft =>
        {
            cache.Announce("building the kernel's selftests");
            var unpacked = draft + ".d";
            try
            {
                DebianArchive.Unpack([package], unpacked, $"./usr/src/{Source}.tar.xz");
                HostCommand.Run("tar", "tar", unpacked, "-xJf", $"usr/src/{Source}.tar.xz", $"{Source}/tools/testing/selftests", $"{Source}/arch/x86/include/asm");
                Directory.CreateDirectory(draft);
                // Static, so that the guest need have no libraries of either kind.
                HostCommand.Run(
                    "make", "make", Path.Combine(unpacked, Source, "tools/testing/selftests/x86"), "-s", $"OUTPUT={draft}", "CAN_BUILD_I386=1", "CAN_BUILD_X86_64=1",
                    "EXTRA_CFLAGS=-static -w -DCAN_BUILD_32 -DCAN_BUILD_64");
            }
            finally
            {
                Directory.Delete(unpacked, recursive: true);
            }
        });
    }

    private string Image(string name, string[] packages, Action<GuestTree, CpioWriter> fill, DebianArchive? archiveOfPackages = null)
    {
        // Images of the same packages are made from one tree.
        var tree = Tree(packages == s_packages ? "bench" : name, packages, archiveOfPackages ?? _archive);
        var key = GuestCache.Fingerprint([Path.GetFileName(tree.Folder), Script("init.sh"), string.Join(' ', s_programs)]);
        return cache.GetOrBuild($"images/{name}-{key}.cpio", draft =>
        {
            cache.Announce($"building the guest image {name}");
            using var output = new BufferedStream(File.Create(draft), 1 << 20);
            var archive = new CpioWriter(output);
            // The kernel opens /dev/console for /init before anything could be mounted on /dev.
            archive.AddCharacterDevice("dev/console", 0x180, 5, 1);
            archive.AddCharacterDevice("dev/null", 0x180, 1, 3);
            foreach (var mountPoint in (ReadOnlySpan<string>)["proc", "sys", "tmp", "root", "run", "etc"])
                archive.AddDirectory(mountPoint);
            archive.AddFile("init", Executable, Encoding.UTF8.GetBytes(Script("init.sh")));
            tree.Copy(archive, "bin/busybox");
            archive.AddSymbolicLink("bin/sh", "busybox");
            fill(tree, archive);
            archive.Finish();
        });
    }

    private GuestTree Tree(string name, string[] packages, DebianArchive archive)
    {
        var files = archive.Fetch(name, packages);
        var key = GuestCache.Fingerprint([Format, .. files.Select(Path.GetFileName)!, .. s_scripts.Select(Script)]);
        var folder = cache.GetOrBuild($"trees/{name}-{key}", draft =>
        {
            DebianArchive.Unpack(files, draft);
            var place = Directory.CreateDirectory(Path.Combine(draft, "yado")).FullName;
            foreach (var script in s_scripts)
                File.WriteAllText(Path.Combine(place, script), Script(script));
            File.WriteAllText(Path.Combine(place, "corpus.txt"), Corpus.Text(4 << 20));
        });
        return new GuestTree(folder);
    }

    private static void AddModules(CpioWriter archive, string folder, IReadOnlyList<string> kernel, string members)
    {
        var unpacked = Directory.CreateTempSubdirectory("yadokari-modules-").FullName;
        try
        {
            DebianArchive.Unpack(kernel, unpacked, members);
            foreach (var module in Directory.EnumerateFiles(unpacked, "*.ko", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
                archive.AddFile($"{folder}/{Path.GetFileName(module)}", Readable, File.ReadAllBytes(module));
        }
        finally
        {
            Directory.Delete(unpacked, recursive: true);
        }
    }

    private static void AddScripts(CpioWriter archive)
    {
        foreach (var script in s_scripts)
            archive.AddFile($"yado/{script}", Executable, Encoding.UTF8.GetBytes(Script(script)));
        archive.AddFile("yado/corpus.txt", Readable, Encoding.ASCII.GetBytes(Corpus.Text(4 << 20)));
    }

    private static string Script(string name)
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"The script {name} is not embedded in the assembly.");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
