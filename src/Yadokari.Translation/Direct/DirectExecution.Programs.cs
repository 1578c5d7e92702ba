using Yadokari.Linux;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>The programs of a vCPU: which is running, which have a sandbox, and whether that pays.</summary>
internal sealed unsafe partial class DirectExecution
{
    /// <summary>Programs that may have a sandbox at once.</summary>
    private const int MaxPrograms = 8;

    /// <summary>Programs of which something is known.</summary>
    internal const int MostKnown = 256;

    /// <summary>Stops over which the time between them is looked at.</summary>
    private const int Window = 32;

    /// <summary>What thread and process wait for is looked at in one of so many windows, for that takes some system calls.</summary>
    private const int Scheduled = 2;

    // Where CR3 has the address of the page tables' root.
    private const ulong RootBits = 0x000F_FFFF_FFFF_F000;

    // The most nanoseconds that one stop counts for: code that was looked through is known from then on, by and large.
    private const long MostCost = 250_000;

    // Nanoseconds of processor time between two interrupts that say something of what ran: after a pause of the host's they come in a row.
    private const long LeastRun = 500_000;

    private readonly DirectOutlook _outlook;
    private readonly Dictionary<ulong, Program> _programs = [];
    private readonly List<Program> _held = [];
    private readonly Stack<Sandbox> _idle = [];
    private Program? _current;
    private ulong _currentRoot = ulong.MaxValue;
    private long _runs;

    // Times that another program began to run, modulo 2^32.
    private ulong _turnedRoot;
    private uint _turns;

    private SchedulerStatistics? _schedule;
    private int _scheduledThread;
    private int _windows;

    /// <summary>Where the vCPU stands, to be held against where it stood before. All but the time are modulo 2^32.</summary>
    /// <param name="ThreadTime">Processor time of its thread in nanoseconds.</param>
    /// <param name="Traps">The guest's exceptions and system calls.</param>
    /// <param name="ReportedRuns">Runs of code that reports them.</param>
    /// <param name="Turns">Times that another program began to run.</param>
    private readonly record struct Snapshot(long ThreadTime, uint Traps, uint ReportedRuns, uint Turns);

    /// <summary>What is known of a program, by the root of its page tables.</summary>
    /// <param name="root">Guest physical address of the root.</param>
    /// <param name="witness">A page of its code, by which it is told from the next program that gets the same root; <paramref name="gpa"/> is its place.</param>
    private sealed class Program(ulong root, ulong witness, ulong gpa, DirectOutlook outlook)
    {
        public ulong Root { get; } = root;

        public ulong Witness { get; } = witness;

        public ulong WitnessGpa { get; } = gpa;

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
        public Snapshot Began { get; set; }

        public long Monitored { get; set; }

        /// <summary>And how long thread and process together had run and waited, where that is looked at.</summary>
        public (long Ran, long Waited)? Schedule { get; set; }

        /// <summary>The process's time at its last stop at code that must be translated.</summary>
        public long DetourTime { get; set; }

        /// <summary>When it was seen to run last, by <see cref="_runs"/>, and with which PCID it ran directly.</summary>
        public long LastRun { get; set; }

        public int Pcid { get; set; }

        /// <summary>Translations were flushed while it did not run: of all pages, or of these.</summary>
        public bool Stale { get; set; }

        public List<ulong> Suspects { get; } = [];

        /// <summary>The page of code that it came to last and that must be translated.</summary>
        public ulong Avoided { get; set; } = ulong.MaxValue;

        /// <summary>Where it could not go on: the guest's kernel will have put a page there by the time it runs again.</summary>
        public ulong Missed { get; set; } = ulong.MaxValue;
    }

    /// <summary>All translations were flushed.</summary>
    public void Flushed()
    {
        _currentRoot = ulong.MaxValue;
        foreach (Program program in _held)
        {
            program.Stale = true;
        }
    }

    /// <summary>The translations of one PCID were flushed.</summary>
    public void FlushedSpace(int pcid)
    {
        _currentRoot = ulong.MaxValue;
        foreach (Program program in _held)
        {
            program.Stale |= program.Pcid == pcid;
        }
    }

    /// <summary>The translation of one page of a PCID was flushed.</summary>
    public void FlushedPage(int pcid, ulong linear)
    {
        foreach (Program program in _held)
        {
            if (program.Pcid != pcid || program.Stale)
            {
                continue;
            }

            if (program.Suspects.Count >= 64)
            {
                program.Stale = true;
            }
            else
            {
                program.Suspects.Add(linear);
            }
        }
    }

    // The program of the current page tables. To be created only while it is about to run: its witness is the page that RIP is in.
    private Program? Current(bool create)
    {
        ulong root = _cpu.Cr3 & RootBits;
        if (root == _currentRoot && (_current != null || !create))
        {
            return _current;
        }

        if (_programs.TryGetValue(root, out _current) && !IsSame(_current))
        {
            // The guest's kernel gave a program's root to another program, which has to show for itself what it is like.
            Remove(_current);
            _current = null;
        }

        _currentRoot = root;
        if (_current == null && create)
        {
            if (_programs.Count >= MostKnown)
            {
                Remove(_programs.Values.Where(static p => p.Sandbox == null).MinBy(static p => p.LastRun)!);
            }

            ulong page = _cpu.Rip & ~0xFFFul;
            PageWalkResult walk = PageWalk.Probe(_memory, _cpu.UserPaging, page, AccessKind.Read);
            _current = new Program(root, page, walk.Succeeded ? walk.PhysicalAddress : ulong.MaxValue, _outlook);
            _programs.Add(root, _current);
        }

        return _current;
    }

    private bool IsSame(Program program)
    {
        if (_mode == DirectMode.Always || program.WitnessGpa == ulong.MaxValue)
        {
            return true;
        }

        PageWalkResult walk = PageWalk.Probe(_memory, _cpu.UserPaging, program.Witness, AccessKind.Read);
        return walk.Succeeded && walk.PhysicalAddress == program.WitnessGpa;
    }

    /// <summary>Whether a program is known, by the address of its page tables. The vCPU's thread.</summary>
    public bool Knows(ulong root) => _programs.ContainsKey(root);

    private void Remove(Program program)
    {
        Release(program);
        _programs.Remove(program.Root);
    }

    // What the monitor did since it began, or was last charged, was for this program.
    private void Charge(Program program)
    {
        long now = TracedProcess.ThreadTime;
        program.Cost += Math.Min(now - _began, MostCost);
        program.Monitored += now - _began;
        _began = now;
    }

    private void Look()
    {
        _looked = Now();
        _lookedSchedule = OwnSchedule.Read();
    }

    private Snapshot Now() => new(TracedProcess.ThreadTime, (uint)_cpu.Exceptions + _cpu.State->SystemCalls, _cpu.State->ReportedRuns, _turns);

    private void Begin(Program program, Sandbox sandbox)
    {
        program.Stops = 0;
        program.Cost = 0;
        program.Monitored = 0;
        program.Time = sandbox.ProcessorTime;
        program.OwnTime = sandbox.OwnTime;
        program.Began = Now();
        _began = program.Began.ThreadTime;
        program.Schedule = _mode == DirectMode.Auto && ++_windows % Scheduled == 0 ? Schedule(sandbox) : null;
    }

    // Of the process and of the vCPU's thread together, which take turns.
    private (long Ran, long Waited) Schedule(Sandbox sandbox)
    {
        (long ran, long waited) = OwnSchedule.Read();
        (long ranThere, long waitedThere) = sandbox.Schedule.Read();
        return (ran + ranThere, waited + waitedThere);
    }

    private SchedulerStatistics OwnSchedule
    {
        get
        {
            if (_schedule is null || _scheduledThread != Environment.CurrentManagedThreadId)
            {
                _schedule?.Dispose();
                _schedule = SchedulerStatistics.OfThread();
                _scheduledThread = Environment.CurrentManagedThreadId;
            }

            return _schedule;
        }
    }

    // Whether what runs between stops is worth what they cost. The process must hold no registers that are needed.
    private bool Judge(Program program, Sandbox sandbox)
    {
        if ((_mode == DirectMode.Auto && !program.Account.Taken) || (++program.Stops < Window && !program.Account.IsDetouring))
        {
            return true;
        }

        Charge(program);
        long used = sandbox.ProcessorTime - program.Time;
        long translated = _began - program.Began.ThreadTime - program.Monitored;
        long cost = program.Cost + sandbox.OwnTime - program.OwnTime;
        UserTime += used;
        bool direct = true;
        if (_mode == DirectMode.Auto)
        {
            if (sandbox.MeasureStop(out long monitor, out long own))
            {
                _outlook.Stopped(monitor, own);
            }

            if (program.Schedule is { } before)
            {
                (long ran, long waited) = Schedule(sandbox);
                _outlook.Contention.Directly(ran - before.Ran, waited - before.Waited);
            }

            Snapshot now = Now();
            direct = program.Account.RanDirectly(new DirectWindow
            {
                Time = used,
                Stops = program.Stops,
                Cost = cost,
                Translated = translated,
                Progress = (now.Traps - program.Began.Traps) + (now.ReportedRuns - program.Began.ReportedRuns),
                Alone = now.Turns == program.Began.Turns,
            });
            Look();
            Turned();
            if (!program.Account.Direct)
            {
                // For a sample, which is to wait no longer than what is translated anyway.
                Part(sandbox);
            }
        }

        Begin(program, sandbox);
        return direct;
    }

    // It stopped at code that must be translated.
    private void Detour(Program program)
    {
        if (_mode == DirectMode.Auto && program.Sandbox is { } sandbox)
        {
            long time = sandbox.ProcessorTime;
            program.Account.Detoured(time - program.DetourTime);
            program.DetourTime = time;
        }
    }

    // Its account says that it runs translated from now on. It keeps its process, as long as no other program needs it, for another try.
    private void GiveBack()
    {
        Part(_joined);
        Demotions++;
        Turned();
    }

    private Sandbox? Start(Program program)
    {
        if (!_idle.TryPop(out Sandbox? sandbox))
        {
            if (_held.Count >= MaxPrograms)
            {
                Release(_held.MinBy(static p => p.LastRun)!);
                sandbox = _idle.Pop();
            }
            else if ((sandbox = Launch()) == null)
            {
                _refused = true;
                Turned();
                return null;
            }
        }

        program.Sandbox = sandbox;
        _held.Add(program);
        Begin(program, sandbox);
        program.DetourTime = program.Time;
        program.Pcid = _cpu.CurrentPcid;
        program.Stale = false;
        program.Suspects.Clear();
        return sandbox;
    }

    private Sandbox? Launch()
    {
        Sandbox? sandbox = Sandbox.Start(_memory);
        if (sandbox == null)
        {
            return null;
        }

        Sandboxes++;
        for (int i = 0; i < 8 && sandbox.MeasureStop(out long monitor, out long own); i++)
        {
            _outlook.Stopped(monitor, own);
        }

        _codePages.Learn(sandbox.HidesClock, sandbox.HidesProcessor && _cpu.Vm.UsesCpuidFaulting, HostFeatures.UserBases);
        _thread = Environment.CurrentManagedThreadId;
        return sandbox;
    }

    // Takes a program's process away from it, for another.
    private void Release(Program program)
    {
        if (program.Sandbox is { } sandbox)
        {
            _registers.FetchExtended(sandbox);
            Part(sandbox);
            program.Sandbox = null;
            _held.Remove(program);
            sandbox.UnmapAll();
            _idle.Push(sandbox);
        }
    }

    // The vCPU's thread need not stay on the processor of a process that does not run.
    private void Part(Sandbox? sandbox)
    {
        if (_joined != null && _joined == sandbox)
        {
            _affinity?.Part();
            _joined = null;
        }
    }

    private void Drop(Program program, Sandbox sandbox)
    {
        _registers.FetchExtended(sandbox);
        Part(sandbox);
        sandbox.Dispose();
        program.Sandbox = null;
        _held.Remove(program);
        program.Account.GiveBack();
        Turned();
    }
}
