namespace Yadokari.Translation;

/// <summary>
/// Measures how far the host's TSC fell behind while the host was suspended: some counters stop, some restart at 0, others continue. Periodic
/// samples make the estimate of the counter's frequency more precise over time. One thread at a time.
/// </summary>
/// <param name="readTsc">Reads the counter.</param>
/// <param name="time">Reads a clock that includes suspend, in nanoseconds.</param>
/// <param name="hz">Approximate frequency of the counter.</param>
internal sealed class TscGap(Func<ulong> readTsc, Func<long> time, ulong hz)
{
    // Smaller gaps are measurement errors of a counter that continued; correcting them would show in the guest.
    private const double MinSeconds = 0.05;

    private (ulong Tsc, long Time) _first = (readTsc(), time());
    private (ulong Tsc, long Time) _last = (readTsc(), time());

    /// <summary>Takes a sample. The host must not have been suspended since the last sample, unless <see cref="Take"/> was called after it.</summary>
    public void Look() => _last = (readTsc(), time());

    /// <summary>Called after the host was suspended. Returns the number of counts to add to the counter, 0 if none.</summary>
    public ulong Take()
    {
        (ulong Tsc, long Time) now = (readTsc(), time());
        double seconds = (_last.Time - _first.Time) / 1e9;
        double rate = seconds > 1 ? (_last.Tsc - _first.Tsc) / seconds : hz;
        double expected = (now.Time - _last.Time) / 1e9 * rate;
        double counted = unchecked((long)(now.Tsc - _last.Tsc));
        _first = _last = now;
        return expected - counted > MinSeconds * hz ? (ulong)(expected - counted) : 0;
    }
}
