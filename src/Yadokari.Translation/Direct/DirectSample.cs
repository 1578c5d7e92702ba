namespace Yadokari.Translation.Direct;

/// <summary>
/// A comparison of direct and translated execution: a program that ran directly is translated for a short time, and its progress per time is
/// compared with that of the window just before. Only adjacent periods are compared, because programs change their behaviour.
/// </summary>
internal sealed class DirectSample
{
    /// <summary>Minimum progress for a result.</summary>
    public const int LeastProgress = 16;

    // Minimum duration in nanoseconds.
    private const long MinTime = 3_000_000;

    private DirectWindow _directly;
    private long _ran;
    private long _longest;
    private double _contention;
    private long _time;
    private long _progress;

    /// <summary>Whether a sample is being taken.</summary>
    public bool Running { get; private set; }

    /// <summary>Whether the last sample ended because another program ran.</summary>
    public bool CutShort { get; private set; }

    /// <summary>Whether the last sample has a result.</summary>
    public bool Tells { get; private set; }

    /// <summary>Nanoseconds of translated execution for the progress of the direct window.</summary>
    public double Translated => (double)_time / _progress * _directly.Progress;

    /// <summary>Whether direct execution is faster, all costs included.</summary>
    public bool Favours => Translated * _contention > Directly;

    /// <summary>Whether direct execution is more than twice as fast, or the program traps so rarely that it can't lose by stops.</summary>
    public bool IsUnambiguous => Tells ? Translated * _contention > 2 * Directly : !CutShort;

    private long Directly => _directly.Time + _directly.Cost + _directly.Translated;

    /// <summary>Ratio of translated time to direct time of the program's own code.</summary>
    public double Gain => (Translated - _directly.Translated) / Math.Max(_ran, 1);

    /// <summary>Begins a sample: the program is translated from now on.</summary>
    /// <param name="directly">The window of direct running just before.</param>
    /// <param name="ran">Time of the program's own code in it, in nanoseconds.</param>
    /// <param name="longest">Nanoseconds after which the sample ends even without a result.</param>
    /// <param name="contention"><see cref="Contention.Factor"/>: weight of translated time relative to direct time.</param>
    public void Begin(in DirectWindow directly, long ran, long longest, double contention)
    {
        Running = true;
        (_directly, _ran, _longest, _contention) = (directly, ran, longest, contention);
        (_time, _progress) = (0, 0);
    }

    /// <summary>Adds a period of translated execution. Returns whether the sample has ended.</summary>
    public bool Add(long time, long progress, bool alone)
    {
        _time += time;
        _progress += progress;
        Tells = alone && _progress >= LeastProgress;
        CutShort = !alone;
        Running = alone && _time < (Tells ? MinTime : _longest);
        return !Running;
    }

    /// <summary>Ends the sample without a result.</summary>
    public void Stop() => Running = false;
}
