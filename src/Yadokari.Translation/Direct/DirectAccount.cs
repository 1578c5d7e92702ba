namespace Yadokari.Translation.Direct;

/// <summary>
/// Decides whether a program runs directly or translated. It sums up, in nanoseconds of processor time, what the other mode would have gained;
/// when the sum reaches the cost of a change, the program changes its mode. A stop counts with its current cost on this host
/// (<see cref="DirectOutlook"/>). The gain of direct execution is measured for each program: from time to time, a program that runs directly is
/// translated for a short time (<see cref="DirectSample"/>). On the vCPU's thread.
/// </summary>
internal sealed class DirectAccount
{
    /// <summary>
    /// Bounds of a measured gain: the ratio of translated time to direct time of a program's own code. It is 1.1 for code that waits for memory
    /// and about 5 for interpreters. A measurement beyond the bounds is clamped, because the program may have changed its behaviour meanwhile.
    /// </summary>
    private const double MinGain = 1.1;

    private const double MaxGain = 8;

    /// <summary>Assumed gain of a program that runs directly and has not been measured.</summary>
    private const double AssumedGain = 3;

    /// <summary>Assumed gain of a translated program that has never run directly.</summary>
    private const double UntriedGain = 4;

    /// <summary>Minimum assumed gain of a translated program that has run directly before.</summary>
    private const double MinRetryGain = 1.5;

    /// <summary>Maximum time between two measurements that counts, in nanoseconds: other programs may have run meanwhile.</summary>
    private const long MaxRun = 10_000_000;

    /// <summary>
    /// Nanoseconds that a program may lose by running directly before it is demoted, at the usual cost of a stop: its pages are mapped one by
    /// one at first. It is also the maximum of earlier gain that counts against later loss.
    /// </summary>
    private const long Credit = 10_000_000;

    /// <summary>Nanoseconds that a translated program must have lost to be promoted, at the usual cost of a stop.</summary>
    internal const long LeastLoss = 12_000_000;

    /// <summary>Factor by which the required loss grows after a program lost by running directly, and shrinks after one gained.</summary>
    private const long Backoff = 4;

    /// <summary>The same factor after a loss of a program whose gain is measured: its phases with many stops then do not count as a loss by translation.</summary>
    private const long MeasuredBackoff = 2;

    private const long MaxLoss = 512 * LeastLoss;

    /// <summary>
    /// Nanoseconds of direct running before the first sample. The interval doubles after each sample, quadruples after an unambiguous one, and
    /// is reset by one that contradicts the known gain. It is longer where translated code waits for a processor, because a sample costs more
    /// there.
    /// </summary>
    private const long FirstSample = 25_000_000;

    private const long MaxInterval = 16 * FirstSample;
    private const long MaxDetourInterval = 4 * FirstSample;

    /// <summary>A measured gain contradicts the known one if their ratio is beyond this.</summary>
    private const double MaxChange = 1.5;

    /// <summary>Where stops take less than this fraction (1/n) of the time, no sample is taken: it would not change the decision.</summary>
    private const int NegligibleStops = 8;

    /// <summary>Number of close stops at code that must be translated after which a sample decides whether direct execution pays.</summary>
    internal const int MostDetours = 16;

    /// <summary>Two detours are close if the program runs for less than the cost of this many stops between them.</summary>
    private const int CloseDetours = 3;

    private readonly DirectOutlook _outlook;
    private readonly ulong _code;
    private readonly DirectSample _sample = new();
    private long _needed;
    private long _lost;
    private long _balance;
    private int _detours;
    private bool _worthDetours;
    private bool _tried;
    private bool _sampledOnce;
    private bool _triedAgain;
    private bool _doubted;
    private bool _paid;

    private bool _first; // No window was recorded since the promotion.

    // Nanoseconds since the promotion or the first sample: direct time of the program's own code, and total time with stops.
    private long _allRan;
    private long _allWhole;

    // Nanoseconds of direct running between samples, and until the next one.
    private long _interval;
    private long _untilSample;

    /// <summary>Begins with the measurements of an earlier program with the same code, if there was one.</summary>
    /// <param name="outlook">Measurements of all programs of the machine.</param>
    /// <param name="code">Guest physical address of a page of its code.</param>
    public DirectAccount(DirectOutlook outlook, ulong code)
    {
        _outlook = outlook;
        _code = code;
        _needed = outlook.Needed;
        if (outlook.Recall(code) is { } known)
        {
            (Gain, _needed) = known;
            _tried = true;
        }
    }

    /// <summary>Whether the program is to run directly now.</summary>
    public bool Direct => Taken && !_sample.Running;

    /// <summary>Whether the program was promoted and not demoted since. If it is not <see cref="Direct"/>, a sample is being taken.</summary>
    public bool Taken { get; private set; }

    /// <summary>Whether the program often enters code that must be translated: its window must end now.</summary>
    public bool IsDetouring => _detours >= MostDetours;

    /// <summary>Ratio of translated time to direct time of its own code; null if not measured.</summary>
    public double? Gain { get; private set; }

    // A program that makes less progress in this time can't lose by running directly: between two traps, it would lose more by translation and by
    // waiting for a processor than a stop costs.
    private long LongestSample => (long)(DirectSample.LeastProgress * _outlook.StopCost / (_outlook.Contention.Factor - (1 / MinGain)));

    // Nanoseconds gained since the promotion; negative for a loss.
    private long Gained => (long)(_allRan * (Gain ?? AssumedGain) * _outlook.Contention.Factor) - _allWhole;

    private long Stretched(long interval) => (long)(interval * _outlook.Contention.Factor);

    /// <summary>Records that the program ran translated. Returns whether it is to run directly from now on.</summary>
    /// <param name="time">Nanoseconds of processor time, including the guest's kernel.</param>
    /// <param name="traps">Exceptions and system calls in that time.</param>
    /// <param name="runs">Counted runs of code that must be translated.</param>
    /// <param name="alone">Whether no other program ran in that time.</param>
    public bool Translated(long time, uint traps, uint runs, bool alone)
    {
        if (_sample.Running)
        {
            if (_sample.Add(time, traps + runs, alone))
            {
                Learn();
            }

            return Direct;
        }

        double gain = _tried ? Math.Max(Gain ?? 0, MinRetryGain) : UntriedGain;
        _lost = Math.Max(_lost + (long)(Math.Min(time, MaxRun) * (_outlook.Contention.Factor - (1 / gain))) - (traps * _outlook.StopCost), 0);
        if (_lost >= _outlook.Scaled(_needed))
        {
            Taken = true;
            _tried = true;
            _balance = 0;
            _detours = 0;
            _worthDetours = false;
            _paid = false;
            _interval = FirstSample;
            _untilSample = Stretched(FirstSample);
            (_allRan, _allWhole) = (0, 0);
            _first = true;
            _sampledOnce = false;
            _triedAgain = false;
            _doubted = false;
        }

        return Direct;
    }

    /// <summary>Records a window of direct running. Returns false if the program is demoted. A sample may begin.</summary>
    public bool RanDirectly(in DirectWindow window)
    {
        // The process's time includes its share of each stop. In the first window, the cost of mapping pages does not count.
        long ran = Math.Max(window.Time - (window.Stops * _outlook.OwnStop), 0);
        bool first = _first;
        _first = false;
        long whole = window.Time + (first ? Math.Min(window.Cost, window.Stops * _outlook.StopCost) : window.Cost);
        long credit = _outlook.Scaled(Credit);

        // The first window has no result, because of work that is done once.
        bool tells = window.Alone && window.Progress >= DirectSample.LeastProgress && !first;
        _balance = Math.Min(_balance + (long)(ran * (Gain ?? AssumedGain) * _outlook.Contention.Factor) - whole, credit);
        _untilSample -= whole;
        _allRan += ran;
        _allWhole += window.Time + window.Cost;
        if (IsDetouring)
        {
            // The program's time between its stops is too short to measure.
            _detours = 0;
            if (!first)
            {
                JudgeBySample(tells, window, ran);
            }
        }
        else if (_worthDetours)
        {
            if (_untilSample <= 0)
            {
                JudgeBySample(tells, window, ran);
            }
        }
        else if (tells && (_untilSample <= 0 || (!_sampledOnce && _balance < -credit)) && (whole - ran) * NegligibleStops > whole)
        {
            _sample.Begin(window, ran, LongestSample, _outlook.Contention.Factor);
        }
        else if (_balance < -credit || (_sampledOnce && Gained < -credit))
        {
            Lose(Gained >= 0);
        }
        else if (!_paid && Gained > credit)
        {
            _outlook.Better();
            _paid = true;
        }

        return Taken;
    }

    /// <summary>Records a stop at code that must be translated, which may set <see cref="IsDetouring"/>.</summary>
    /// <param name="time">Processor time of its process since the last such stop.</param>
    public void Detoured(long time)
    {
        if (!_worthDetours)
        {
            _detours = time < CloseDetours * _outlook.StopCost ? _detours + 1 : Math.Max(_detours - 1, 0);
        }
    }

    /// <summary>Demotes the program: it runs translated from now on.</summary>
    public void Demote()
    {
        Taken = false;
        _sample.Stop();
        _lost = 0;
    }

    private void JudgeBySample(bool tells, in DirectWindow window, long ran)
    {
        if (tells)
        {
            _worthDetours = true;
            _sample.Begin(window, ran, LongestSample, _outlook.Contention.Factor);
        }
        else if (_worthDetours)
        {
            // Its behaviour changed, or other programs run in every window: it is judged by the cost of its stops again.
            _worthDetours = false;
            _balance = 0;
        }
        else
        {
            Lose(gained: false);
        }
    }

    private void Learn()
    {
        if (_worthDetours)
        {
            _worthDetours = _sample.Tells && _sample.Favours;
            _interval = Math.Min(_interval * 2, MaxDetourInterval);
            _untilSample = Stretched(_interval);
            _balance = 0;
            if (_sample.Tells && !_worthDetours)
            {
                Lose(gained: false);
            }

            return;
        }

        bool first = !_sampledOnce;
        if (first && !_sample.CutShort)
        {
            // The balance so far was computed with an assumed gain, and the cost of mapping pages is spent either way.
            _balance = 0;
            (_allRan, _allWhole) = (0, 0);
        }

        // A sample that another program cut short is taken once more.
        _sampledOnce |= !_sample.CutShort || _triedAgain;
        _triedAgain = _sample.CutShort;
        _interval = _sample.CutShort ? _interval : Math.Min(_interval * (_sample.IsUnambiguous ? 4 : 2), MaxInterval);
        if (_sample.Tells)
        {
            double gain = Math.Clamp(_sample.Gain, MinGain, MaxGain);
            if (Gain is { } before)
            {
                gain = (gain + before) / 2;
                _interval = gain > before * MaxChange || gain * MaxChange < before ? FirstSample : _interval;
            }

            Gain = gain;
            _outlook.Learn(_code, Gain, _needed);
        }

        _untilSample = Stretched(_interval);
        if (!_sample.Tells || _sample.Favours || !(first || _doubted))
        {
            _doubted = false;
        }
        else if (first)
        {
            // A single sample may be wrong, for example if the program's behaviour changed: another one follows at once.
            _doubted = true;
            _untilSample = 0;
        }
        else
        {
            // Two samples show a loss; the gain before them was only assumed.
            Lose(gained: false);
        }
    }

    private void Lose(bool gained)
    {
        if (gained)
        {
            _needed = Math.Max(_needed / Backoff, LeastLoss);
        }
        else
        {
            _needed = Math.Min(_needed * (_sampledOnce && Gain is not null ? MeasuredBackoff : Backoff), MaxLoss);
            _outlook.Worse();
        }

        _outlook.Learn(_code, Gain, _needed);
        Demote();
    }
}
