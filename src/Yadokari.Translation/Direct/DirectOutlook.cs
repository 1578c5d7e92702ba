using System.Collections.Concurrent;

namespace Yadokari.Translation.Direct;

/// <summary>
/// What the programs of a machine that ran directly so far showed: what a stop costs on this host at present, how much a new program must
/// have lost to be taken on, and what those that ran showed, by a page of their code. Of any vCPU's thread: of two updates at once one may
/// be lost.
/// </summary>
internal sealed class DirectOutlook
{
    /// <summary>Nanoseconds that a stop is taken to cost before one was seen.</summary>
    public const long UsualStop = UsualMonitor + (Aftermath * UsualOwn);

    private const long UsualMonitor = 20_000;
    private const long UsualOwn = 20_000;

    /// <summary>
    /// What a stop takes of the process's time in all, in times of one with nothing between: caches and TLB are filled anew after it.
    /// </summary>
    private const int Aftermath = 2;

    /// <summary>Stops of which the cost is known. The longest of them counts for nothing: the host stretches one now and then.</summary>
    private const int Remembered = 16;

    private const long MostLoss = 2 * DirectAccount.LeastLoss;
    private const int MostPages = 4096;

    // What one program makes harder for another, which may only share a page of a library with it.
    private const long MostKnown = 4 * DirectAccount.LeastLoss;

    private readonly ConcurrentDictionary<ulong, (double? Gain, long Needed)> _known = [];
    private readonly Lock _lock = new(); // Innermost: guards the two below.
    private readonly long[] _stops = new long[Remembered];
    private int _next;
    private long _monitor = UsualMonitor;
    private long _own = UsualOwn;
    private long _needed = DirectAccount.LeastLoss;

    /// <summary>What the host's other work costs.</summary>
    public Contention Contention { get; } = new();

    /// <summary>Nothing is known yet.</summary>
    public DirectOutlook() => Array.Fill(_stops, UsualMonitor);

    /// <summary>
    /// Nanoseconds of processor time that a stop costs now, with its aftermath. Waiting for a processor does not count here: on a busy host
    /// a program waits either way (<see cref="Contention"/>).
    /// </summary>
    public long StopCost => Volatile.Read(ref _monitor) + (Aftermath * OwnStop);

    /// <summary>Nanoseconds of the process's own time that a stop takes, without its aftermath.</summary>
    public long OwnStop => Volatile.Read(ref _own);

    /// <summary>
    /// Nanoseconds that a new program must have lost by being translated to be taken on, where a stop costs as usual: more after those that
    /// were not worth it.
    /// </summary>
    public long Needed => Volatile.Read(ref _needed);

    /// <summary>A stop with nothing between was measured.</summary>
    /// <param name="monitor">Nanoseconds of the monitor's processor time.</param>
    /// <param name="own">Nanoseconds of the process's own.</param>
    public void Stopped(long monitor, long own)
    {
        lock (_lock)
        {
            _stops[_next] = monitor;
            _next = (_next + 1) % Remembered;
            Volatile.Write(ref _monitor, (_stops.Sum() - _stops.Max()) / (Remembered - 1));
            Volatile.Write(ref _own, ((7 * _own) + own) / 8);
        }
    }

    /// <summary>What holds where a stop costs as usual, where it costs as much as now.</summary>
    public long Scaled(long time) => time * Math.Max(StopCost, UsualStop) / UsualStop;

    /// <summary>A program was not worth it.</summary>
    public void Worse() => Volatile.Write(ref _needed, Math.Min(_needed * 2, MostLoss));

    /// <summary>One was.</summary>
    public void Better() => Volatile.Write(ref _needed, Math.Max(_needed / 2, DirectAccount.LeastLoss));

    /// <summary>What a program with this page of code showed (<see cref="DirectAccount"/>), if one did.</summary>
    /// <param name="gpa">Of the page.</param>
    public (double? Gain, long Needed)? Recall(ulong gpa) => _known.TryGetValue(gpa, out (double?, long) known) ? known : null;

    /// <summary>What a program with this page of code shows. All ones: its page is not known.</summary>
    public void Learn(ulong gpa, double? gain, long needed)
    {
        if (_known.Count >= MostPages)
        {
            _known.Clear();
        }

        if (gpa != ulong.MaxValue)
        {
            _known[gpa] = (gain, Math.Min(needed, MostKnown));
        }
    }

    /// <summary>Which code is in which page is not known any more.</summary>
    public void ForgetPages() => _known.Clear();

    /// <summary>A page holds other code now.</summary>
    public void Forget(ulong gpa) => _known.TryRemove(gpa, out _);
}
