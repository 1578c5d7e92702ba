namespace Yadokari.Bench;

/// <summary>What one contender runs to be compared.</summary>
/// <param name="Name">The name that the guest's script knows it by.</param>
/// <param name="What">A few words for the table's reader.</param>
/// <param name="Target">How many times faster than TCG it is to be.</param>
/// <param name="IsRate">Whether the program counts how much it does in a fixed time, instead of being timed over a fixed amount.</param>
internal sealed record Workload(string Name, string What, double Target, bool IsRate = false)
{
    /// <summary>The whole life of a machine: from the command's start to the end of its process. Has no native counterpart.</summary>
    public static Workload Boot { get; } = new("boot", "kernel to /init, power off", 1.0);

    /// <summary>All of them, in the table's order.</summary>
    public static IReadOnlyList<Workload> All { get; } =
    [
        Boot,
        new("shell", "busybox sh, integer loop", 2.5),
        new("forkexec", "fork and exec of a program", 1.5),
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
    ];
}
