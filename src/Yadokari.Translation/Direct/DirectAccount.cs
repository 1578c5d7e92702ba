namespace Yadokari.Translation.Direct;

/// <summary>
/// Whether a program is worth running directly. It keeps account, in nanoseconds of processor time, of what the other way would have
/// gained: when that is as much as changing over costs, the program changes over. Stops are priced by what they cost on this host now
/// (<see cref="DirectOutlook"/>). What running directly gains is measured for each program: from time to time one that runs directly is
/// translated for a short while, and its exceptions and system calls tell how far it comes either way. Of the vCPU's thread.
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

    private const long MostLoss = 512 * LeastLoss;

    /// <summary>A sample is of so many traps at least, and so long; it ends without a measure if it gets too long.</summary>
    private const int SampleTraps = 16;

    private const long ShortSample = 3_000_000;
    private const long LongSample = 20_000_000;

    /// <summary>Samples are taken after so much direct running at first, and after twice as much each time unless they contradict what was known.</summary>
    private const long FirstSample = 25_000_000;

    private const long LastSample = 16 * FirstSample;

    private const double Same = 1.5;

    /// <summary>Where stops take less than one part in so many, a measure makes no difference.</summary>
    private const int Negligible = 8;

    /// <summary>Stops at code that must be translated, close together, that end a program's direct running; and where the page is known for it.</summary>
    internal const int MostDetours = 16;

    private const int MostDetoursKnown = 2;

    /// <summary>Detours are close together if a program runs for less than so many stops' cost between them.</summary>
    private const int Between = 3;

    private readonly DirectOutlook _outlook;
    private readonly ulong _code;
    private long _needed;
    private long _lost;
    private long _balance;
    private int _detours;
    private bool _tried;
    private bool _sampledOnce;
    private bool _cutShort;
    private bool _paid;

    // Since it was taken on: what it ran directly in its own code, and what that took in all.
    private long _allRan;
    private long _allWhole;

    // Direct running between samples, and until the next.
    private long _interval;
    private long _untilSample;

    // What it ran directly just before the sample: in its own code, in the guest's kernel, and the traps.
    private long _ran;
    private long _kernel;
    private long _traps;

    // The sample.
    private bool _sampling;
    private long _sampled;
    private long _sampledTraps;

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
    public bool Direct => Taken && !_sampling;

    /// <summary>It was taken on and not given back. It is translated for a sample if it is not <see cref="Direct"/>.</summary>
    public bool Taken { get; private set; }

    /// <summary>How many times as long its own code takes translated as directly; null if that was not measured.</summary>
    public double? Gain { get; private set; }

    // What it gained since it was taken on, all in all.
    private long Gained => (long)(_allRan * (Gain ?? Supposed)) - _allWhole;

    /// <summary>It ran translated. Returns whether it is to run directly from now on.</summary>
    /// <param name="time">For so long, the guest's kernel included.</param>
    /// <param name="traps">Exceptions and system calls meanwhile.</param>
    /// <param name="alone">No other program ran meanwhile.</param>
    public bool Translated(long time, uint traps, bool alone)
    {
        if (_sampling)
        {
            Sample(time, traps, alone);
            return Direct;
        }

        double gain = _tried ? Math.Max(Gain ?? 0, HopedAgain) : Hoped;
        _lost = Math.Max(_lost + (long)(Math.Min(time, MostRun) * (1 - (1 / gain))) - (traps * _outlook.StopCost), 0);
        if (_lost >= _outlook.Scaled(_needed))
        {
            Taken = true;
            _tried = true;
            _balance = 0;
            _detours = 0;
            _paid = false;
            _interval = FirstSample;
            _untilSample = FirstSample;
            (_allRan, _allWhole) = (0, 0);
            _sampledOnce = false;
            _cutShort = false;
        }

        return Direct;
    }

    /// <summary>It ran directly. Returns whether it may go on so, at once or after a sample.</summary>
    /// <param name="time">Processor time of its process, stops included but not what was mapped at the monitor's word.</param>
    /// <param name="stops">How often it stopped.</param>
    /// <param name="cost">Processor time that the monitor took, and the process at its word.</param>
    /// <param name="kernel">Processor time that the guest's kernel took.</param>
    /// <param name="traps">Exceptions and system calls meanwhile.</param>
    /// <param name="alone">No other program ran meanwhile.</param>
    public bool RanDirectly(long time, int stops, long cost, long kernel, uint traps, bool alone)
    {
        // Where hardly more than the stops themselves took time, nothing was gained, whatever the clock says. That its pages are shown at
        // first is no fault of the program's.
        long ran = Math.Max(time - (stops * _outlook.OwnStop), 0);
        long whole = time + (_allWhole == 0 ? Math.Min(cost, stops * _outlook.StopCost) : cost);
        long credit = _outlook.Scaled(Credit);
        _balance = Math.Min(_balance + (long)(ran * (Gain ?? Supposed)) - whole, credit);
        _untilSample -= whole;
        _allRan += ran;
        _allWhole += time + cost;
        if (alone && traps >= SampleTraps && (_untilSample <= 0 || (!_sampledOnce && _balance < -credit)) && (whole - ran) * Negligible > whole)
        {
            _sampling = true;
            (_ran, _kernel, _traps) = (ran, kernel, traps);
            (_sampled, _sampledTraps) = (0, 0);
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

    /// <summary>
    /// It stopped at code that must be translated. Returns whether it may go on directly: a program that comes back to such code all the time
    /// does not get better.
    /// </summary>
    /// <param name="time">Processor time of its process since the last such stop.</param>
    /// <param name="page">Guest physical address of the page.</param>
    public bool Detoured(long time, ulong page)
    {
        _detours = time < Between * _outlook.StopCost ? _detours + 1 : Math.Max(_detours - 1, 0);
        if (_detours >= (_outlook.IsCostly(page) ? MostDetoursKnown : MostDetours))
        {
            _outlook.Cost(page);
            Lose(gained: false);
        }

        return Taken;
    }

    /// <summary>It runs translated from now on, for whatever reason.</summary>
    public void GiveBack()
    {
        Taken = false;
        _sampling = false;
        _lost = 0;
    }

    private void Sample(long time, uint traps, bool alone)
    {
        _sampled += time;
        _sampledTraps += traps;
        bool tells = alone && _sampledTraps >= SampleTraps;
        if (alone && _sampled < (tells ? ShortSample : LongSample))
        {
            return;
        }

        _sampling = false;
        if (!_sampledOnce && tells)
        {
            // What was supposed before does not count.
            _balance = 0;
        }

        // One that another program cut short is taken again.
        _sampledOnce |= alone || _cutShort;
        _cutShort = !alone;
        _interval = alone ? Math.Min(_interval * 2, LastSample) : _interval;
        if (tells)
        {
            double translated = ((double)_sampled / _sampledTraps) - ((double)_kernel / _traps);
            double gain = Math.Clamp(translated * _traps / Math.Max(_ran, 1), Least, Most);
            if (Gain is { } before)
            {
                gain = (gain + before) / 2;
                _interval = gain > before * Same || gain * Same < before ? FirstSample : _interval;
            }

            Gain = gain;
            _outlook.Learn(_code, Gain, _needed);
        }

        _untilSample = _interval;
    }

    private void Lose(bool gained)
    {
        if (gained)
        {
            _needed = Math.Max(_needed / Patience, LeastLoss);
        }
        else
        {
            _needed = Math.Min(_needed * Patience, MostLoss);
            _outlook.Worse();
        }

        _outlook.Learn(_code, Gain, _needed);
        GiveBack();
    }
}
