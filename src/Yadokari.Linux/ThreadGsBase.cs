namespace Yadokari.Linux;

/// <summary>The calling thread's gs segment base, which neither the runtime nor the C library uses (arch_prctl(2)).</summary>
public static class ThreadGsBase
{
    private const int ArchPrctl = 158;
    private const int ArchSetGs = 0x1001;

    /// <summary>Sets the base for the calling thread. Not for thread-pool threads, which other code shares.</summary>
    public static void Set(nint address)
    {
        if (Libc.Syscall(ArchPrctl, ArchSetGs, address) != 0)
        {
            throw new InvalidOperationException("arch_prctl(ARCH_SET_GS) failed");
        }
    }
}
