namespace Yadokari.Translation.Direct;

/// <summary>
/// Whether a program is worth running directly. It keeps account, in nanoseconds of processor time, of what the other way would have gained:
/// when that is as much as changing over costs, the program changes over. Of the vCPU's thread.
/// </summary>
/// <param name="outlook">What is expected of programs that are new; that of all programs of a vCPU.</param>
internal sealed class DirectAccount(DirectOutlook outlook)
{
    /// <summary>What running directly gains, in times of what it takes: translated code takes three to five times as long.</summary>
    private const long Gain = 3;

    /// <summary>What each trap of a translated program would cost if it ran directly: with all that a stop drives out of caches.</summary>
    private const long StopCost = 75_000;

    /// <summary>Of the time between two looks as much as counts: there may have been other programs between.</summary>
    private const long MostRun = 10_000_000;

    /// <summary>
    /// What a program may lose directly before it is given back, for its pages are shown one by one at first; and as much more at most from
    /// better days.
    /// </summary>
    private const long Credit = 20_000_000;

    /// <summary>What a translated program must have lost to be taken on; after each time that this was not worth it twice as much.</summary>
    internal const long LeastLoss = 6_000_000;

    private const long MostLoss = 64 * LeastLoss;

    private long _needed = outlook.Needed;
    private long _lost;
    private long _balance;
    private bool _paid;

    /// <summary>It is to run directly.</summary>
    public bool Direct { get; private set; }

    /// <summary>It ran translated. Returns whether it is to run directly from now on.</summary>
    /// <param name="time">For so long, the guest's kernel included.</param>
    /// <param name="traps">Exceptions and system calls meanwhile.</param>
    public bool Translated(long time, uint traps)
    {
        _lost = Math.Max(_lost + (Math.Min(time, MostRun) * Gain / (Gain + 1)) - (traps * StopCost), 0);
        if (_lost >= _needed)
        {
            Direct = true;
            _balance = 0;
            _paid = false;
        }

        return Direct;
    }

    /// <summary>It ran directly. Returns whether it may go on so.</summary>
    /// <param name="time">Of its own code, for so long.</param>
    /// <param name="cost">What its stops took.</param>
    public bool RanDirectly(long time, long cost)
    {
        _balance = Math.Min(_balance + (time * Gain) - cost, Credit);
        if (_balance < -Credit)
        {
            _needed = Math.Min(_needed * 2, MostLoss);
            if (!_paid)
            {
                outlook.Worse();
            }

            GiveBack();
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

    /// <summary>It runs translated from now on, for whatever reason.</summary>
    public void GiveBack()
    {
        Direct = false;
        _lost = 0;
    }
}

/// <summary>What the programs of a vCPU so far let expect of one that is new.</summary>
internal sealed class DirectOutlook
{
    private const long MostLoss = 4 * DirectAccount.LeastLoss;

    /// <summary>Nanoseconds that it must have lost by being translated to be taken on.</summary>
    public long Needed { get; private set; } = DirectAccount.LeastLoss;

    /// <summary>One was not worth it.</summary>
    public void Worse() => Needed = Math.Min(Needed * 2, MostLoss);

    /// <summary>One was.</summary>
    public void Better() => Needed = Math.Max(Needed / 2, DirectAccount.LeastLoss);
}
