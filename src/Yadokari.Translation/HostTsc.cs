using System.Diagnostics;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>The host's time-stamp counter. Any thread.</summary>
internal static unsafe class HostTsc
{
    private static readonly delegate* unmanaged[SuppressGCTransition]<ulong> s_read = Emit();
    private static readonly Lazy<ulong> s_hz = new(Calibrate);

    /// <summary>Frequency in Hz, measured once against the monotonic clock with an error of at most 20 ppm.</summary>
    public static ulong Hz => s_hz.Value;

    /// <summary>Reads the counter.</summary>
    public static ulong Read() => s_read();

    private static delegate* unmanaged[SuppressGCTransition]<ulong> Emit()
    {
        // Kept for the life of the process.
        var cache = new CodeCache(4096);
        HostAssembler a = default;
        a.Cursor = cache.Next;

        // SAFETY: RDTSC; SHL RDX, 32; OR RAX, RDX; RET: touches only registers that a call may change.
        a.Bytes([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3]);
        return (delegate* unmanaged[SuppressGCTransition]<ulong>)cache.Executable(cache.Next);
    }

    private static ulong Calibrate()
    {
        (ulong tsc, long time) start = Sample();
        Thread.Sleep(12);
        (ulong tsc, long time) end = Sample();
        return (ulong)((end.tsc - start.tsc) * (double)Stopwatch.Frequency / (end.time - start.time));
    }

    // Reads both clocks several times and returns the pair with the least delay between the two reads.
    private static (ulong Tsc, long Time) Sample()
    {
        (ulong, long) best = default;
        ulong least = ulong.MaxValue;
        for (int i = 0; i < 20; i++)
        {
            ulong before = Read();
            long time = Stopwatch.GetTimestamp();
            ulong after = Read();
            if (after - before < least)
            {
                least = after - before;
                best = (before + ((after - before) / 2), time);
            }
        }

        return best;
    }
}
