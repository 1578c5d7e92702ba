namespace Yadokari.Bench;

/// <summary>A program that contenders run to be compared.</summary>
/// <param name="Name">Its name in the guest's script.</param>
/// <param name="What">A short description for the table.</param>
/// <param name="Target">The target: how many times faster than TCG it should be.</param>
/// <param name="IsRate">Whether the program counts how much it does in a fixed time, instead of being timed over a fixed amount.</param>
internal sealed record Workload(string Name, string What, double Target, bool IsRate = false)
{
    /// <summary>From the command's start to systemd's login prompt on the serial port, in a stock Debian.</summary>
    public static Workload Login { get; } = new("login", "Debian with systemd to its login prompt", 2) { IsSystem = true };

    /// <summary>A build of several files on one processor.</summary>
    public static Workload MakeOnOne { get; } = new("make-1", "make of 8 such files, 1 processor", 3) { IsSystem = true };

    /// <summary>The same build on two.</summary>
    public static Workload MakeOnTwo { get; } = new("make-2", "the same, 2 processors, make -j2", 3) { IsSystem = true, Cpus = 2 };

    /// <summary>Whether it runs in a stock Debian with systemd off a disk. Has no native counterpart.</summary>
    public bool IsSystem { get; init; }

    /// <summary>Count of the machine's processors.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Whether a program of the host's is the other end of a connection.</summary>
    public bool IsNetwork { get; init; }

    /// <summary>A complete run of a machine: from the command's start to the end of its process. Has no native counterpart.</summary>
    public static Workload Boot { get; } = new("boot", "kernel to /init, power off", 1.0);

    /// <summary>All of them, in the table's order.</summary>
    public static IReadOnlyList<Workload> All { get; } =
    [
        Boot,
        new("shell", "busybox sh, integer loop", 2.5),
        new("forkexec", "fork and exec of a program", 1.5),
        new("short", "many short programs, one after another", 1.5),
        new("syscall", "dd, one byte a read and write", 1.5),
        new("pipe", "64 KiB blocks through a pipe", 8),
        new("gzip", "gzip -6 of text", 1.5),
        new("xz", "xz -6 of text", 1.5),
        new("sort", "sort of text lines", 1.5),
        new("sha256", "sha256sum", 4),
        new("awk-int", "mawk, integer loop", 2.5),
        new("awk-float", "mawk, floating-point loop", 6),
        new("awk-hash", "mawk, counting words", 1.5),
        new("perl-int", "perl, integer loop", 2.5),
        new("perl-float", "perl, floating-point loop", 6),
        new("perl-hash", "perl, hash and sorted keys", 1.5),
        new("perl-regex", "perl, regular expressions", 6),
        new("luajit", "LuaJIT, compiled loop", 2.5),
        new("aes", "openssl AES-256-GCM, 16 KiB", 10, IsRate: true),
        new("rsa", "openssl RSA-2048 signatures", 8, IsRate: true),
        Login,
        new("gcc", "gcc -O2 of a file of 8,000 lines", 3) { IsSystem = true },
        MakeOnOne,
        MakeOnTwo,
        new("read-seq", "fio, sequential reads of 1 MiB", 1, IsRate: true) { IsSystem = true },
        new("read-4k", "fio, random reads of 4 KiB, 32 at once", 1, IsRate: true) { IsSystem = true },
        new("net-out", "iperf3, guest to host", 1, IsRate: true) { IsSystem = true, IsNetwork = true },
        new("net-in", "iperf3, host to guest", 1, IsRate: true) { IsSystem = true, IsNetwork = true },
    ];
}
