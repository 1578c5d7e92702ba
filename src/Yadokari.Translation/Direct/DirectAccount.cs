namespace Yadokari.Translation.Direct;

/// <summary>
/// Whether a program is worth running directly. It keeps account, in nanoseconds of processor time, of what the other way would have
/// gained: when that is as much as changing over costs, the program changes over. Stops are priced by what they cost on this host now
/// (<see cref="DirectOutlook"/>). What running directly gains is measured for each program: from time to time one that runs directly is
/// translated for a short while (<see cref="DirectSample"/>). Of the vCPU's thread.
/// </summary>
internal sealed class DirectAccount
{
    /// <summary>
    /// How many times as long as directly a program's own code takes translated: from 1.1 (what waits for memory) to five (interpreters). What is
    /// measured is believed within bounds, for the program may have begun to do something else meanwhile.
    /// </summary>
    private const double Least = 1.1;

    private const double Most = 8;

    /// <summary>What is supposed of a program that runs directly and was not measured yet.</summary>
    private const double Supposed = 3;

    /// <summary>What is hoped of one that was never tried, and of one that was, at least.</summary>
    private const double Hoped = 4;

    private const double HopedAgain = 1.5;

    /// <summary>Of the time between two looks as much as counts: there may have been other programs between.</summary>
    private const long MostRun = 10_000_000;

    /// <summary>
    /// What a program may lose directly before it is given back, where a stop costs as usual, for its pages are shown one by one at first; and
    /// as much more at most from better days.
    /// </summary>
    private const long Credit = 10_000_000;

    /// <summary>What a translated program must have lost to be taken on, where a stop costs as usual.</summary>
    internal const long LeastLoss = 18_000_000;

    /// <summary>A program that lost by running directly, all in all, is left alone for so many times as long as before; one that gained the other way round.</summary>
    private const long Patience = 4;

    /// <summary>The same where its gain was measured: what is lost by translation is known then, and phases with many stops do not count as such.</summary>
    private const long PatienceOnceMeasured = 2;

    private const long MostLoss = 512 * LeastLoss;

    /// <summary>
    /// Samples are taken after so much direct running at first, and after twice as much each time, or more where there is no doubt, unless they
    /// contradict what was known. Where translated code waits, a sample costs more, and is taken after as much more.
    /// </summary>
    private const long FirstSample = 25_000_000;

    private const long LastSample = 16 * FirstSample;
    private const long LastOfDetours = 4 * FirstSample;

    private const double Same = 1.5;

    /// <summary>Where stops take less than one part in so many, a measure makes no difference.</summary>
    private const int Negligible = 8;

    /// <summary>Stops at code that must be translated, close together, after which a sample has to tell whether running directly pays.</summary>
    internal const int MostDetours = 16;

    /// <summary>Detours are close together if a program runs for less than so many stops' cost between them.</summary>
    private const int Between = 3;

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

    private bool _first; // Nothing is known of it since it was taken on.

    // Since it was taken on or first compared: what it ran directly in its own code, and what that took in all.
    private long _allRan;
    private long _allWhole;

    // Direct running between samples, and until the next.
    private long _interval;
    private long _untilSample;

    /// <summary>Begins where another program with the same code ended, if there was one.</summary>
    /// <param name="outlook">What the programs of the machine showed so far.</param>
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

    /// <summary>It is to run directly.</summary>
    public bool Direct => Taken && !_sample.Running;

    /// <summary>It was taken on and not given back. It is translated for a sample if it is not <see cref="Direct"/>.</summary>
    public bool Taken { get; private set; }

    /// <summary>It comes to code that must be translated again and again: a look is due, whatever the window.</summary>
    public bool IsDetouring => _detours >= MostDetours;

    /// <summary>How many times as long its own code takes translated as directly; null if that was not measured.</summary>
    public double? Gain { get; private set; }

    // A program that traps less often can't lose by its stops: what it runs translated between two, and waits, is more than what it would run directly
    // and a stop.
    private long LongestSample => (long)(DirectSample.LeastProgress * _outlook.StopCost / (_outlook.Contention.Factor - (1 / Least)));

    // What it gained since it was taken on, all in all.
    private long Gained => (long)(_allRan * (Gain ?? Supposed) * _outlook.Contention.Factor) - _allWhole;

    private long Stretched(long interval) => (long)(interval * _outlook.Contention.Factor);

    /// <summary>It ran translated. Returns whether it is to run directly from now on.</summary>
    /// <param name="time">For so long, the guest's kernel included.</param>
    /// <param name="traps">Exceptions and system calls meanwhile.</param>
    /// <param name="runs">Runs meanwhile of code that must be translated, as far as it is known.</param>
    /// <param name="alone">No other program ran meanwhile.</param>
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

        double gain = _tried ? Math.Max(Gain ?? 0, HopedAgain) : Hoped;
        _lost = Math.Max(_lost + (long)(Math.Min(time, MostRun) * (_outlook.Contention.Factor - (1 / gain))) - (traps * _outlook.StopCost), 0);
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

    /// <summary>It ran directly. Returns whether it may go on so, at once or after a sample.</summary>
    public bool RanDirectly(in DirectWindow window)
    {
        // Where hardly more than the stops themselves took time, nothing was gained, whatever the clock says. That its pages are shown at
        // first is no fault of the program's.
        long ran = Math.Max(window.Time - (window.Stops * _outlook.OwnStop), 0);
        bool first = _first;
        _first = false;
        long whole = window.Time + (first ? Math.Min(window.Cost, window.Stops * _outlook.StopCost) : window.Cost);
        long credit = _outlook.Scaled(Credit);

        // A first window tells nothing: much is done once.
        bool tells = window.Alone && window.Progress >= DirectSample.LeastProgress && !first;
        _balance = Math.Min(_balance + (long)(ran * (Gain ?? Supposed) * _outlook.Contention.Factor) - whole, credit);
        _untilSample -= whole;
        _allRan += ran;
        _allWhole += window.Time + window.Cost;
        if (IsDetouring)
        {
            // What it ran between its stops is too short to be told from them.
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
        else if (tells && (_untilSample <= 0 || (!_sampledOnce && _balance < -credit)) && (whole - ran) * Negligible > whole)
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

    /// <summary>It stopped at code that must be translated, which may make it <see cref="IsDetouring"/>.</summary>
    /// <param name="time">Processor time of its process since the last such stop.</param>
    public void Detoured(long time)
    {
        if (!_worthDetours)
        {
            _detours = time < Between * _outlook.StopCost ? _detours + 1 : Math.Max(_detours - 1, 0);
        }
    }

    /// <summary>It runs translated from now on, for whatever reason.</summary>
    public void GiveBack()
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
            // It does something else now, or other programs always run between: its stops are to judge it again.
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
            _interval = Math.Min(_interval * 2, LastOfDetours);
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
            // What was supposed before does not count, nor what it cost to show its pages: that is spent either way.
            _balance = 0;
            (_allRan, _allWhole) = (0, 0);
        }

        // One that another program cut short is taken again.
        _sampledOnce |= !_sample.CutShort || _triedAgain;
        _triedAgain = _sample.CutShort;
        _interval = _sample.CutShort ? _interval : Math.Min(_interval * (_sample.IsBeyondDoubt ? 4 : 2), LastSample);
        if (_sample.Tells)
        {
            double gain = Math.Clamp(_sample.Gain, Least, Most);
            if (Gain is { } before)
            {
                gain = (gain + before) / 2;
                _interval = gain > before * Same || gain * Same < before ? FirstSample : _interval;
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
            // One may be mistaken, as where the program begins to do something else. Another tells at once.
            _doubted = true;
            _untilSample = 0;
        }
        else
        {
            // What it gained by then was not measured, and it would go on to lose.
            Lose(gained: false);
        }
    }

    private void Lose(bool gained)
    {
        if (gained)
        {
            _needed = Math.Max(_needed / Patience, LeastLoss);
        }
        else
        {
            _needed = Math.Min(_needed * (_sampledOnce && Gain is not null ? PatienceOnceMeasured : Patience), MostLoss);
            _outlook.Worse();
        }

        _outlook.Learn(_code, Gain, _needed);
        GiveBack();
    }
}
