namespace Yadokari.Translation.Direct;

/// <summary>Counters of the vCPU at one time; differences of two measure progress. All except the time are modulo 2^32.</summary>
/// <param name="ThreadTime">Processor time of the vCPU's thread in nanoseconds.</param>
/// <param name="Traps">The guest's exceptions and system calls.</param>
/// <param name="ReportedRuns">Runs of code that counts them (<see cref="Code.TranslatedCode.ReportRuns"/>).</param>
/// <param name="ProgramChanges">Changes of the root of the page tables.</param>
internal readonly record struct DirectSnapshot(long ThreadTime, uint Traps, uint ReportedRuns, uint ProgramChanges);

/// <summary>
/// A program of the guest, identified by the root of its page tables: its process, the mappings of the process that must be checked again, its
/// measurement window, and where it stopped. On the vCPU's thread.
/// </summary>
/// <param name="root">Guest physical address of the root.</param>
/// <param name="witness">A page of its code, which tells it from a later program with the same root.</param>
/// <param name="gpa">Guest physical address of <paramref name="witness"/>; all ones if unknown.</param>
/// <param name="outlook">Measurements of all programs of the machine.</param>
internal sealed class DirectProgram(ulong root, ulong witness, ulong gpa, DirectOutlook outlook)
{
    // Checking more pages one by one takes longer than checking all mappings.
    private const int MaxFlushedPages = 64;

    /// <summary>Guest physical address of the root.</summary>
    public ulong Root { get; } = root;

    /// <summary>Linear address of a page of its code, which tells it from a later program with the same root.</summary>
    public ulong Witness { get; } = witness;

    /// <summary>Guest physical address of <see cref="Witness"/>; all ones if unknown.</summary>
    public ulong WitnessGpa { get; } = gpa;

    /// <summary>The process that mirrors its address space; null if it has none.</summary>
    public Sandbox? Sandbox { get; set; }

    /// <summary>Decides how long it stays translated after a page that can't run directly.</summary>
    public Lingering Lingering { get; } = new();

    /// <summary>Decides whether direct execution pays.</summary>
    public DirectAccount Account { get; } = new(outlook, gpa);

    /// <summary>Stops in the current window.</summary>
    public int Stops { get; set; }

    /// <summary>The monitor's processor time for these stops in nanoseconds; each stop counts up to a maximum.</summary>
    public long Cost { get; set; }

    /// <summary>Processor time of the process's guest code in nanoseconds, when the window began.</summary>
    public long Time { get; set; }

    /// <summary><see cref="Sandbox.OwnTime"/> when the window began.</summary>
    public long OwnTime { get; set; }

    /// <summary>The vCPU's counters when the window began.</summary>
    public DirectSnapshot Began { get; set; }

    /// <summary>The monitor's processor time for the stops of the window in nanoseconds, without a maximum.</summary>
    public long Monitored { get; set; }

    /// <summary>The scheduler's statistics of thread and process together when the window began; null if not measured in this window.</summary>
    public (long Ran, long Waited)? Schedule { get; set; }

    /// <summary>The process's time at its last stop at code that must be translated.</summary>
    public long DetourTime { get; set; }

    /// <summary>Sequence number of its last run.</summary>
    public long LastRun { get; set; }

    /// <summary>Linear address of the last page that it stopped at and that must be translated; all ones for none.</summary>
    public ulong Avoided { get; set; } = ulong.MaxValue;

    /// <summary>Linear address of its last page fault, which the guest's kernel will have resolved when it runs again; all ones for none.</summary>
    public ulong Missed { get; set; } = ulong.MaxValue;

    // The PCID of its last direct run, and the flushes of that PCID since: of all pages, or of single pages.
    private int _pcid;
    private bool _allFlushed;
    private readonly List<ulong> _flushedPages = [];

    /// <summary>Assigns a process, which has no mappings yet.</summary>
    public void Take(Sandbox sandbox, int pcid)
    {
        Sandbox = sandbox;
        _pcid = pcid;
        _allFlushed = false;
        _flushedPages.Clear();
    }

    /// <summary>The guest flushed its whole TLB.</summary>
    public void Flushed() => _allFlushed = true;

    /// <summary>The guest flushed the TLB entries of one PCID.</summary>
    public void FlushedSpace(int pcid) => _allFlushed |= _pcid == pcid;

    /// <summary>The guest flushed the TLB entry of one page of a PCID.</summary>
    public void FlushedPage(int pcid, ulong linear)
    {
        if (_pcid != pcid || _allFlushed)
        {
            return;
        }

        if (_flushedPages.Count >= MaxFlushedPages)
        {
            _allFlushed = true;
        }
        else
        {
            _flushedPages.Add(linear);
        }
    }

    /// <summary>Unmaps the pages of the process whose translation the guest flushed and changed. Called before each direct run.</summary>
    /// <param name="pcid">The current PCID.</param>
    /// <param name="holds">Whether a mapping still agrees with the guest's page tables.</param>
    public void BringUpToDate(int pcid, Func<ulong, ulong, uint, PageUse, bool> holds)
    {
        if (_allFlushed || _pcid != pcid)
        {
            Sandbox!.Review(holds);
        }
        else
        {
            foreach (ulong linear in _flushedPages)
            {
                Sandbox!.Review(linear, holds);
            }
        }

        _allFlushed = false;
        _pcid = pcid;
        _flushedPages.Clear();
    }
}
