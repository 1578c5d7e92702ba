using Yadokari.Core.Engines;
using Yadokari.Linux;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>Assignment of sandboxes to the programs of a vCPU, and measurement of whether direct execution pays.</summary>
internal sealed unsafe partial class DirectExecution
{
    /// <summary>Maximum number of programs with a sandbox.</summary>
    private const int MaxPrograms = 8;

    /// <summary>Number of stops in a measurement window.</summary>
    private const int Window = 32;

    /// <summary>The scheduler's statistics are read in one of this many windows, because that takes system calls.</summary>
    private const int WindowsPerScheduleRead = 2;

    // Maximum nanoseconds that one stop is charged with: the scan of a code page happens once.
    private const long MaxCost = 250_000;

    // Minimum nanoseconds of processor time between two interrupts for a measurement: after the host was paused, interrupts come in a row.
    private const long MinRun = 500_000;

    private readonly DirectOutlook _outlook;
    private readonly DirectPrograms _programs;
    private readonly List<DirectProgram> _held = [];
    private readonly Stack<Sandbox> _idle = [];
    private long _runs;

    // The last root seen by ProgramChanged, and how often it changed, modulo 2^32.
    private ulong _lastRoot;
    private uint _programChanges;

    private readonly ThreadSchedule _schedule = new();
    private int _windows;

    /// <summary>The guest flushed its whole TLB.</summary>
    public void Flushed()
    {
        _programs.InvalidateCurrent();
        foreach (DirectProgram program in _held)
        {
            program.Flushed();
        }
    }

    /// <summary>The guest flushed the TLB entries of one PCID.</summary>
    public void FlushedSpace(int pcid)
    {
        _programs.InvalidateCurrent();
        foreach (DirectProgram program in _held)
        {
            program.FlushedSpace(pcid);
        }
    }

    /// <summary>The guest flushed the TLB entry of one page of a PCID.</summary>
    public void FlushedPage(int pcid, ulong linear)
    {
        foreach (DirectProgram program in _held)
        {
            program.FlushedPage(pcid, linear);
        }
    }

    /// <summary>Whether the program with this root of its page tables is known.</summary>
    public bool Knows(ulong root) => _programs.Knows(root);

    // Charges a program with the monitor's processor time since _began.
    private void Charge(DirectProgram program)
    {
        long now = TracedProcess.ThreadTime;
        program.Cost += Math.Min(now - _began, MaxCost);
        program.Monitored += now - _began;
        _began = now;
    }

    private void TakeSnapshot()
    {
        _lastSnapshot = Now();
        _lastSchedule = _schedule.Read();
    }

    private DirectSnapshot Now() => new(TracedProcess.ThreadTime, (uint)_cpu.Exceptions + _cpu.State->SystemCalls, _cpu.State->ReportedRuns, _programChanges);

    // Begins a measurement window.
    private void Begin(DirectProgram program, Sandbox sandbox)
    {
        program.Stops = 0;
        program.Cost = 0;
        program.Monitored = 0;
        program.Time = sandbox.ProcessorTime;
        program.OwnTime = sandbox.OwnTime;
        program.Began = Now();
        _began = program.Began.ThreadTime;
        program.Schedule = _mode == DirectMode.Auto && ++_windows % WindowsPerScheduleRead == 0 ? Schedule(sandbox) : null;
    }

    // The sum for the process and the vCPU's thread, which run alternately.
    private (long Ran, long Waited) Schedule(Sandbox sandbox)
    {
        (long ran, long waited) = _schedule.Read();
        (long ranThere, long waitedThere) = sandbox.Schedule.Read();
        return (ran + ranThere, waited + waitedThere);
    }

    // Ends the window after enough stops, and returns whether the program may stay direct. Measuring a stop overwrites the process's general
    // registers: the caller must have saved them.
    private bool Judge(DirectProgram program, Sandbox sandbox)
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

            DirectSnapshot now = Now();
            direct = program.Account.RanDirectly(new DirectWindow
            {
                Time = used,
                Stops = program.Stops,
                Cost = cost,
                Translated = translated,
                Progress = (now.Traps - program.Began.Traps) + (now.ReportedRuns - program.Began.ReportedRuns),
                Alone = now.ProgramChanges == program.Began.ProgramChanges,
            });
            TakeSnapshot();
            ProgramChanged();
            if (!program.Account.Direct)
            {
                // A sample must run with the same affinity as other translated code.
                Part(sandbox);
            }
        }

        Begin(program, sandbox);
        return direct;
    }

    // Records a stop at code that must be translated.
    private void Detour(DirectProgram program)
    {
        if (_mode == DirectMode.Auto && program.Sandbox is { } sandbox)
        {
            long time = sandbox.ProcessorTime;
            program.Account.Detoured(time - program.DetourTime);
            program.DetourTime = time;
        }
    }

    // Runs the current program translated from now on, as its account decided. It keeps its process until another program needs that.
    private void Demote()
    {
        Part(_joined);
        Demotions++;
        ProgramChanged();
    }

    private Sandbox? Start(DirectProgram program)
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
                ProgramChanged();
                return null;
            }
        }

        program.Take(sandbox, _cpu.Mmu.CurrentPcid);
        _held.Add(program);
        Begin(program, sandbox);
        program.DetourTime = program.Time;
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

    // Takes a program's process away, for use by another program.
    private void Release(DirectProgram program)
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

    // Restores the affinity of the vCPU's thread if it is bound to the processor of this sandbox's process.
    private void Part(Sandbox? sandbox)
    {
        if (_joined != null && _joined == sandbox)
        {
            _affinity?.Part();
            _joined = null;
        }
    }

    // Disposes a sandbox that failed, and runs its program translated.
    private void Drop(DirectProgram program, Sandbox sandbox)
    {
        _registers.FetchExtended(sandbox);
        Part(sandbox);
        sandbox.Dispose();
        program.Sandbox = null;
        _held.Remove(program);
        program.Account.Demote();
        ProgramChanged();
    }
}
