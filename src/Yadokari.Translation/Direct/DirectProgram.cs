namespace Yadokari.Translation.Direct;

/// <summary>Where the vCPU stands, to be held against where it stood before. All but the time are modulo 2^32.</summary>
/// <param name="ThreadTime">Processor time of its thread in nanoseconds.</param>
/// <param name="Traps">The guest's exceptions and system calls.</param>
/// <param name="ReportedRuns">Runs of code that reports them.</param>
/// <param name="Turns">Times that another program began to run.</param>
internal readonly record struct DirectSnapshot(long ThreadTime, uint Traps, uint ReportedRuns, uint Turns);

/// <summary>
/// What is known of a program, by the root of its page tables: its process and which of what that shows has to be looked at again, how its
/// window goes, and where it stopped. Of the vCPU's thread.
/// </summary>
/// <param name="root">Guest physical address of the root.</param>
/// <param name="witness">A page of its code, by which it is told from the next program that gets the same root; <paramref name="gpa"/> is its place.</param>
internal sealed class DirectProgram(ulong root, ulong witness, ulong gpa, DirectOutlook outlook)
{
    // To look at more one by one takes longer than to look at all that is shown.
    private const int MostSuspects = 64;

    /// <summary>Guest physical address of the root.</summary>
    public ulong Root { get; } = root;

    /// <summary>The page of its code by which it is told, and where that is.</summary>
    public ulong Witness { get; } = witness;

    public ulong WitnessGpa { get; } = gpa;

    /// <summary>The process that has its pages, if one has.</summary>
    public Sandbox? Sandbox { get; set; }

    /// <summary>How long it stays translated after a page that can't run directly.</summary>
    public Lingering Lingering { get; } = new();

    /// <summary>Whether it is worth running directly.</summary>
    public DirectAccount Account { get; } = new(outlook, gpa);

    /// <summary>Of the window in progress: stops, the monitor's processor time for them, and the process's at its beginning, in nanoseconds.</summary>
    public int Stops { get; set; }

    public long Cost { get; set; }

    public long Time { get; set; }

    public long OwnTime { get; set; }

    /// <summary>And where the vCPU stood at its beginning; the monitor had so much of its thread's time since.</summary>
    public DirectSnapshot Began { get; set; }

    public long Monitored { get; set; }

    /// <summary>And how long thread and process together had run and waited, where that is looked at.</summary>
    public (long Ran, long Waited)? Schedule { get; set; }

    /// <summary>The process's time at its last stop at code that must be translated.</summary>
    public long DetourTime { get; set; }

    /// <summary>When it was seen to run last: a number that grows from run to run.</summary>
    public long LastRun { get; set; }

    /// <summary>The page of code that it came to last and that must be translated.</summary>
    public ulong Avoided { get; set; } = ulong.MaxValue;

    /// <summary>Where it could not go on: the guest's kernel will have put a page there by the time it runs again.</summary>
    public ulong Missed { get; set; } = ulong.MaxValue;

    // With which PCID it ran directly, and whose translations were flushed while it did not run: those of all pages, or of these.
    private int _pcid;
    private bool _stale;
    private readonly List<ulong> _suspects = [];

    /// <summary>It gets a process, which shows nothing yet.</summary>
    public void Take(Sandbox sandbox, int pcid)
    {
        Sandbox = sandbox;
        _pcid = pcid;
        _stale = false;
        _suspects.Clear();
    }

    /// <summary>All translations were flushed.</summary>
    public void Suspect() => _stale = true;

    /// <summary>Those of one PCID were.</summary>
    public void Suspect(int pcid) => _stale |= _pcid == pcid;

    /// <summary>That of one page of a PCID was.</summary>
    public void Suspect(int pcid, ulong linear)
    {
        if (_pcid != pcid || _stale)
        {
            return;
        }

        if (_suspects.Count >= MostSuspects)
        {
            _stale = true;
        }
        else
        {
            _suspects.Add(linear);
        }
    }

    /// <summary>It is about to run directly: its process loses what may not hold any more and does not.</summary>
    /// <param name="pcid">With which it runs.</param>
    /// <param name="holds">Whether a page still is as the guest's page tables say.</param>
    public void BringUpToDate(int pcid, Func<ulong, ulong, uint, PageUse, bool> holds)
    {
        if (_stale || _pcid != pcid)
        {
            Sandbox!.Review(holds);
        }
        else
        {
            foreach (ulong linear in _suspects)
            {
                Sandbox!.Review(linear, holds);
            }
        }

        _stale = false;
        _pcid = pcid;
        _suspects.Clear();
    }
}
