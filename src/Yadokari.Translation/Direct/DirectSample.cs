namespace Yadokari.Translation.Direct;

/// <summary>
/// A comparison of the two ways: a program that ran directly is translated for a short while, and its progress tells how far it comes in what
/// time either way. Only what stands right beside the other may be compared, for programs change what they do.
/// </summary>
internal sealed class DirectSample
{
    /// <summary>Less progress tells nothing.</summary>
    public const int LeastProgress = 16;

    // It is so long at least.
    private const long Short = 3_000_000;

    private DirectWindow _directly;
    private long _ran;
    private long _longest;
    private double _contention;
    private long _time;
    private long _progress;

    /// <summary>It is being taken.</summary>
    public bool Running { get; private set; }

    /// <summary>The last one that ended did so because another program ran.</summary>
    public bool CutShort { get; private set; }

    /// <summary>The last one that ended has a result.</summary>
    public bool Tells { get; private set; }

    /// <summary>What the program would have taken translated for what it did directly, in nanoseconds.</summary>
    public double Translated => (double)_time / _progress * _directly.Progress;

    /// <summary>It comes further directly, all in all.</summary>
    public bool Favours => Translated * _contention > Directly;

    /// <summary>It comes twice as far, or so seldom to where it would stop that it can't lose.</summary>
    public bool IsBeyondDoubt => Tells ? Translated * _contention > 2 * Directly : !CutShort;

    private long Directly => _directly.Time + _directly.Cost + _directly.Translated;

    /// <summary>How many times as long its own code takes translated as directly.</summary>
    public double Gain => (Translated - _directly.Translated) / Math.Max(_ran, 1);

    /// <summary>The program is translated from now on.</summary>
    /// <param name="directly">What it did just before.</param>
    /// <param name="ran">What of that was its own code's, in nanoseconds.</param>
    /// <param name="longest">Nanoseconds after which the sample ends, whatever it tells.</param>
    /// <param name="contention">What translated time counts for, beside direct time.</param>
    public void Begin(in DirectWindow directly, long ran, long longest, double contention)
    {
        Running = true;
        (_directly, _ran, _longest, _contention) = (directly, ran, longest, contention);
        (_time, _progress) = (0, 0);
    }

    /// <summary>It was translated. Returns whether the sample has ended.</summary>
    public bool Add(long time, long progress, bool alone)
    {
        _time += time;
        _progress += progress;
        Tells = alone && _progress >= LeastProgress;
        CutShort = !alone;
        Running = alone && _time < (Tells ? Short : _longest);
        return !Running;
    }

    /// <summary>It ends without a result.</summary>
    public void Stop() => Running = false;
}
