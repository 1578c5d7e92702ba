namespace Yadokari.Translation;

/// <summary>
/// By how much the processor's counter fell behind while the host slept: some stop then, some begin anew, others count on. Looks at it from
/// time to time, so that how fast it counts is known the better the longer it runs. One thread at a time.
/// </summary>
/// <param name="readTsc">The counter.</param>
/// <param name="time">Nanoseconds that go on in sleep.</param>
/// <param name="hz">About how often it counts in a second.</param>
internal sealed class TscGap(Func<ulong> readTsc, Func<long> time, ulong hz)
{
    // A counter that went on is left alone: what is measured has errors, and the guest would see them.
    private const double LeastSeconds = 0.05;

    private (ulong Tsc, long Time) _first = (readTsc(), time());
    private (ulong Tsc, long Time) _last = (readTsc(), time());

    /// <summary>Looks. The host has not slept since the last look, or that was told by <see cref="Take"/>.</summary>
    public void Look() => _last = (readTsc(), time());

    /// <summary>The host slept. Returns what the counter lacks, 0 if nothing.</summary>
    public ulong Take()
    {
        (ulong Tsc, long Time) now = (readTsc(), time());
        double seconds = (_last.Time - _first.Time) / 1e9;
        double rate = seconds > 1 ? (_last.Tsc - _first.Tsc) / seconds : hz;
        double expected = (now.Time - _last.Time) / 1e9 * rate;
        double counted = unchecked((long)(now.Tsc - _last.Tsc));
        _first = _last = now;
        return expected - counted > LeastSeconds * hz ? (ulong)(expected - counted) : 0;
    }
}
