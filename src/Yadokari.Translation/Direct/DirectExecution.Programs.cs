using Yadokari.Core.Engines;
using Yadokari.Linux;
using Yadokari.X86.Paging;

namespace Yadokari.Translation.Direct;

/// <summary>The programs of a vCPU: which is running, which have a sandbox, and whether that pays.</summary>
internal sealed unsafe partial class DirectExecution
{
    /// <summary>Programs that may have a sandbox at once.</summary>
    private const int MaxPrograms = 8;

    /// <summary>Stops over which the time between them is looked at.</summary>
    private const int Window = 32;

    /// <summary>What thread and process wait for is looked at in one of so many windows, for that takes some system calls.</summary>
    private const int Scheduled = 2;

    // The most nanoseconds that one stop counts for: code that was looked through is known from then on, by and large.
    private const long MostCost = 250_000;

    // Nanoseconds of processor time between two interrupts that say something of what ran: after a pause of the host's they come in a row.
    private const long LeastRun = 500_000;

    private readonly DirectOutlook _outlook;
    private readonly DirectPrograms _programs;
    private readonly List<DirectProgram> _held = [];
    private readonly Stack<Sandbox> _idle = [];
    private long _runs;

    // Times that another program began to run, modulo 2^32.
    private ulong _turnedRoot;
    private uint _turns;

    private readonly ThreadSchedule _schedule = new();
    private int _windows;

    /// <summary>All translations were flushed.</summary>
    public void Flushed()
    {
        _programs.LookAgain();
        foreach (DirectProgram program in _held)
        {
            program.Suspect();
        }
    }

    /// <summary>The translations of one PCID were flushed.</summary>
    public void FlushedSpace(int pcid)
    {
        _programs.LookAgain();
        foreach (DirectProgram program in _held)
        {
            program.Suspect(pcid);
        }
    }

    /// <summary>The translation of one page of a PCID was flushed.</summary>
    public void FlushedPage(int pcid, ulong linear)
    {
        foreach (DirectProgram program in _held)
        {
            program.Suspect(pcid, linear);
        }
    }

    /// <summary>Whether a program is known, by the address of its page tables. The vCPU's thread.</summary>
    public bool Knows(ulong root) => _programs.Knows(root);

    // What the monitor did since it began, or was last charged, was for this program.
    private void Charge(DirectProgram program)
    {
        long now = TracedProcess.ThreadTime;
        program.Cost += Math.Min(now - _began, MostCost);
        program.Monitored += now - _began;
        _began = now;
    }

    private void Look()
    {
        _looked = Now();
        _lookedSchedule = _schedule.Read();
    }

    private DirectSnapshot Now() => new(TracedProcess.ThreadTime, (uint)_cpu.Exceptions + _cpu.State->SystemCalls, _cpu.State->ReportedRuns, _turns);

    private void Begin(DirectProgram program, Sandbox sandbox)
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
        (long ran, long waited) = _schedule.Read();
        (long ranThere, long waitedThere) = sandbox.Schedule.Read();
        return (ran + ranThere, waited + waitedThere);
    }

    // Whether what runs between stops is worth what they cost. The process must hold no registers that are needed.
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
    private void Detour(DirectProgram program)
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
                Turned();
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

    // Takes a program's process away from it, for another.
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

    // The vCPU's thread need not stay on the processor of a process that does not run.
    private void Part(Sandbox? sandbox)
    {
        if (_joined != null && _joined == sandbox)
        {
            _affinity?.Part();
            _joined = null;
        }
    }

    private void Drop(DirectProgram program, Sandbox sandbox)
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
