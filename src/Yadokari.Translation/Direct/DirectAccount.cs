namespace Yadokari.Translation.Direct;

/// <summary>
/// Whether a program is worth running directly. It keeps account, in nanoseconds, of what the other way would have gained: when that is as
/// much as changing over costs, the program changes over. Stops are priced by what they cost on this host now (<see cref="DirectOutlook"/>),
/// so that what it decides also holds where the host is busy. Of the vCPU's thread.
/// </summary>
/// <param name="outlook">What the programs of the machine showed so far.</param>
internal sealed class DirectAccount(DirectOutlook outlook)
{
    /// <summary>
    /// What running directly gains, in times of what it takes. Translated code takes from 1.3 times as long (what waits for memory) to four
    /// times (interpreters); whatever is supposed here, a program that is near the border loses little by either way.
    /// </summary>
    private const long Gain = 1;

    /// <summary>Of the time between two looks as much as counts: there may have been other programs between.</summary>
    private const long MostRun = 10_000_000;

    /// <summary>
    /// What a program may lose directly before it is given back, where a stop costs as usual, for its pages are shown one by one at first; and
    /// as much more at most from better days.
    /// </summary>
    private const long Credit = 10_000_000;

    /// <summary>What a translated program must have lost to be taken on, where a stop costs as usual.</summary>
    internal const long LeastLoss = 6_000_000;

    /// <summary>After a loss a program is left alone for so many times as long as before.</summary>
    private const long Patience = 4;

    private const long MostLoss = 512 * LeastLoss;

    /// <summary>Stops at code that must be translated, close together, that end a program's direct running; and where the page is known for it.</summary>
    internal const int MostDetours = 16;

    private const int MostDetoursKnown = 2;

    /// <summary>Detours are close together if a program runs for less than so many stops' cost between them.</summary>
    private const int Between = 3;

    private long _needed = outlook.Needed;
    private long _lost;
    private long _balance;
    private int _detours;
    private bool _paid;

    /// <summary>It is to run directly.</summary>
    public bool Direct { get; private set; }

    /// <summary>It ran translated. Returns whether it is to run directly from now on.</summary>
    /// <param name="time">For so long, the guest's kernel included.</param>
    /// <param name="traps">Exceptions and system calls meanwhile.</param>
    public bool Translated(long time, uint traps)
    {
        _lost = Math.Max(_lost + (Math.Min(time, MostRun) * Gain / (Gain + 1)) - (traps * outlook.StopCost), 0);
        if (_lost >= outlook.Scaled(_needed))
        {
            Direct = true;
            _balance = 0;
            _detours = 0;
            _paid = false;
        }

        return Direct;
    }

    /// <summary>It ran directly. Returns whether it may go on so.</summary>
    /// <param name="time">Processor time of its process, stops included but not what was mapped at the monitor's word.</param>
    /// <param name="stops">How often it stopped.</param>
    /// <param name="cost">Processor time that the monitor took, and the process at its word.</param>
    public bool RanDirectly(long time, int stops, long cost)
    {
        // Where hardly more than the stops themselves took time, nothing was gained, whatever the clock says.
        long ran = Math.Max(time - (stops * outlook.OwnStopCost), 0);
        _balance = Math.Min(_balance + (ran * Gain) - Math.Max(stops * outlook.StopCost, cost), outlook.Scaled(Credit));
        if (_balance < -outlook.Scaled(Credit))
        {
            Lose();
        }
        else if (_balance > 0)
        {
            _needed = Math.Max(_needed / 2, LeastLoss);
            if (!_paid)
            {
                outlook.Better();
            }

            _paid = true;
        }

        return Direct;
    }

    /// <summary>
    /// It stopped at code that must be translated. Returns whether it may go on directly: a program that comes back to such code all the time
    /// does not get better.
    /// </summary>
    /// <param name="time">Processor time of its process since the last such stop.</param>
    /// <param name="page">Guest physical address of the page.</param>
    public bool Detoured(long time, ulong page)
    {
        _detours = time < Between * outlook.StopCost ? _detours + 1 : Math.Max(_detours - 1, 0);
        if (_detours >= (outlook.IsCostly(page) ? MostDetoursKnown : MostDetours))
        {
            outlook.Cost(page);
            Lose();
        }

        return Direct;
    }

    /// <summary>It runs translated from now on, for whatever reason.</summary>
    public void GiveBack()
    {
        Direct = false;
        _lost = 0;
    }

    private void Lose()
    {
        _needed = Math.Min(_needed * Patience, MostLoss);
        if (!_paid)
        {
            outlook.Worse();
        }

        GiveBack();
    }
}
