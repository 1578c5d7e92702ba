using System.Collections.Concurrent;

namespace Yadokari.Translation.Direct;

/// <summary>
/// What the programs of a machine that ran directly so far showed: what a stop costs on this host at present, how much a new program must
/// have lost to be taken on, and which pages of code cost other programs their direct running. Of any vCPU's thread: of two
/// updates at once one may be lost.
/// </summary>
internal sealed class DirectOutlook
{
    /// <summary>Nanoseconds that a stop is taken to cost before one was seen.</summary>
    public const long UsualStop = UsualWhole + ((Aftermath - 1) * UsualOwn);

    private const long UsualWhole = 40_000;
    private const long UsualOwn = 20_000;

    /// <summary>
    /// What a stop takes of the process's time in all, in times of one with nothing between: caches and TLB are filled anew after it.
    /// </summary>
    private const int Aftermath = 2;

    /// <summary>Stops of which the cost is known. The longest of them counts for nothing: the host's scheduler stretches one now and then.</summary>
    private const int Remembered = 16;

    private const long MostLoss = 4 * DirectAccount.LeastLoss;
    private const int MostPages = 4096;

    private readonly ConcurrentDictionary<ulong, bool> _costly = [];
    private readonly Lock _lock = new(); // Innermost: guards the two below.
    private readonly long[] _stops = new long[Remembered];
    private int _next;
    private long _whole = UsualWhole;
    private long _own = UsualOwn;
    private long _needed = DirectAccount.LeastLoss;

    /// <summary>Nothing is known yet.</summary>
    public DirectOutlook() => Array.Fill(_stops, UsualWhole);

    /// <summary>Nanoseconds that a stop costs now, by the wall clock and with its aftermath: on a busy host mostly waiting for a processor.</summary>
    public long StopCost => Volatile.Read(ref _whole) + ((Aftermath - 1) * Volatile.Read(ref _own));

    /// <summary>Nanoseconds of the process's own time that a stop takes, with its aftermath.</summary>
    public long OwnStopCost => Aftermath * Volatile.Read(ref _own);

    /// <summary>
    /// Nanoseconds that a new program must have lost by being translated to be taken on, where a stop costs as usual: more after those that
    /// were not worth it.
    /// </summary>
    public long Needed => Volatile.Read(ref _needed);

    /// <summary>A stop with nothing between was measured.</summary>
    /// <param name="whole">From the process's resumption until the monitor goes on, in nanoseconds by the wall clock.</param>
    /// <param name="own">Of the process's own processor time.</param>
    public void Stopped(long whole, long own)
    {
        lock (_lock)
        {
            _stops[_next] = whole;
            _next = (_next + 1) % Remembered;
            Volatile.Write(ref _whole, (_stops.Sum() - _stops.Max()) / (Remembered - 1));
            Volatile.Write(ref _own, ((7 * _own) + own) / 8);
        }
    }

    /// <summary>What holds where a stop costs as usual, where it costs as much as now.</summary>
    public long Scaled(long time) => time * Math.Max(StopCost, UsualStop) / UsualStop;

    /// <summary>A program was not worth it.</summary>
    public void Worse() => Volatile.Write(ref _needed, Math.Min(_needed * 2, MostLoss));

    /// <summary>One was.</summary>
    public void Better() => Volatile.Write(ref _needed, Math.Max(_needed / 2, DirectAccount.LeastLoss));

    /// <summary>Whether a page of code has cost a program its direct running before.</summary>
    /// <param name="gpa">Of the page.</param>
    public bool IsCostly(ulong gpa) => _costly.ContainsKey(gpa);

    /// <summary>A page of code has.</summary>
    public void Cost(ulong gpa)
    {
        if (_costly.Count >= MostPages)
        {
            _costly.Clear();
        }

        _costly[gpa] = true;
    }

    /// <summary>A page holds other code now.</summary>
    public void Forget(ulong gpa) => _costly.TryRemove(gpa, out _);
}
