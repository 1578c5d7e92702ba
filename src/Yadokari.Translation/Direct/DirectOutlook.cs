using System.Collections.Concurrent;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Measurements of all programs of a machine that ran directly: the current cost of a stop on this host, the loss required to promote a new
/// program, and the gain of each program, indexed by a page of its code. On any vCPU's thread: one of two concurrent updates may be lost.
/// </summary>
internal sealed class DirectOutlook
{
    /// <summary>Assumed cost of a stop in nanoseconds before one was measured.</summary>
    public const long UsualStop = UsualMonitor + (Aftermath * UsualOwn);

    private const long UsualMonitor = 20_000;
    private const long UsualOwn = 20_000;

    /// <summary>
    /// Ratio of the process's time for a stop to that for an empty stop: after it, caches and TLB must be filled again.
    /// </summary>
    private const int Aftermath = 2;

    /// <summary>Number of stops whose mean is the cost. The longest is left out: the host interrupts one now and then.</summary>
    private const int MeasuredStops = 16;

    private const long MaxLoss = 2 * DirectAccount.LeastLoss;
    private const int MaxPages = 4096;

    // Maximum loss that one program can require of another with the same page of code: they may share only a library.
    private const long MaxKnownLoss = 4 * DirectAccount.LeastLoss;

    private readonly ConcurrentDictionary<ulong, (double? Gain, long Needed)> _known = [];
    private readonly Lock _lock = new(); // Innermost: guards _stops and _next.
    private readonly long[] _stops = new long[MeasuredStops];
    private int _next;
    private long _monitor = UsualMonitor;
    private long _own = UsualOwn;
    private long _needed = DirectAccount.LeastLoss;

    /// <summary>The effect of the host's other load.</summary>
    public Contention Contention { get; } = new();

    /// <summary>Begins with assumed costs.</summary>
    public DirectOutlook() => Array.Fill(_stops, UsualMonitor);

    /// <summary>
    /// Current cost of a stop in nanoseconds of processor time, with the cache and TLB misses after it. Waiting for a processor does not count
    /// here: on a busy host, a program waits in both modes (<see cref="Contention"/>).
    /// </summary>
    public long StopCost => Volatile.Read(ref _monitor) + (Aftermath * OwnStop);

    /// <summary>Nanoseconds of the process's own time for an empty stop.</summary>
    public long OwnStop => Volatile.Read(ref _own);

    /// <summary>
    /// Nanoseconds that a new program must have lost by being translated to be promoted, at the usual cost of a stop. It grows after programs that
    /// lost by direct execution.
    /// </summary>
    public long Needed => Volatile.Read(ref _needed);

    /// <summary>Records the measurement of an empty stop.</summary>
    /// <param name="monitor">Nanoseconds of the monitor's processor time.</param>
    /// <param name="own">Nanoseconds of the process's own.</param>
    public void Stopped(long monitor, long own)
    {
        lock (_lock)
        {
            _stops[_next] = monitor;
            _next = (_next + 1) % MeasuredStops;
            Volatile.Write(ref _monitor, (_stops.Sum() - _stops.Max()) / (MeasuredStops - 1));
            Volatile.Write(ref _own, ((7 * _own) + own) / 8);
        }
    }

    /// <summary>Scales a time that is given for the usual cost of a stop to the current cost.</summary>
    public long Scaled(long time) => time * Math.Max(StopCost, UsualStop) / UsualStop;

    /// <summary>Records that a program lost by running directly.</summary>
    public void Worse() => Volatile.Write(ref _needed, Math.Min(_needed * 2, MaxLoss));

    /// <summary>Records that a program gained by running directly.</summary>
    public void Better() => Volatile.Write(ref _needed, Math.Max(_needed / 2, DirectAccount.LeastLoss));

    /// <summary>The measurements of a program with this page of code; null if there are none.</summary>
    /// <param name="gpa">Guest physical address of the page.</param>
    public (double? Gain, long Needed)? Recall(ulong gpa) => _known.TryGetValue(gpa, out (double?, long) known) ? known : null;

    /// <summary>Records the measurements of a program.</summary>
    /// <param name="gpa">Guest physical address of a page of its code; all ones (unknown) records nothing.</param>
    /// <param name="gain"><see cref="DirectAccount.Gain"/>.</param>
    /// <param name="needed">Nanoseconds that it must lose to be promoted again, at the usual cost of a stop.</param>
    public void Learn(ulong gpa, double? gain, long needed)
    {
        if (_known.Count >= MaxPages)
        {
            _known.Clear();
        }

        if (gpa != ulong.MaxValue)
        {
            _known[gpa] = (gain, Math.Min(needed, MaxKnownLoss));
        }
    }

    /// <summary>Forgets the measurements of all pages: their code may have changed.</summary>
    public void ForgetPages() => _known.Clear();

    /// <summary>Forgets the measurements of a page whose code changed.</summary>
    public void Forget(ulong gpa) => _known.TryRemove(gpa, out _);
}
