namespace Yadokari.Devices;

/// <summary>A counter's frequency over a clock of nanoseconds: converts without overflow, and so that each is the other's inverse.</summary>
internal readonly struct TickRate(long hz)
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>How many ticks have passed at a time.</summary>
    public long TicksAt(long nanoseconds)
    {
        (long seconds, long rest) = Math.DivRem(nanoseconds, NanosecondsPerSecond);
        return (seconds * hz) + (rest * hz / NanosecondsPerSecond);
    }

    /// <summary>The first nanosecond at which so many ticks have passed.</summary>
    public long TimeOf(long ticks)
    {
        (long seconds, long rest) = Math.DivRem(ticks, hz);
        return (seconds * NanosecondsPerSecond) + (((rest * NanosecondsPerSecond) + hz - 1) / hz);
    }
}
