using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using Yadokari.X86;
using Yadokari.X86.Paging;
using Yadokari.X86.State;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Direct execution of user code (trap and emulate), for programs that run long between traps. Each such program has a <see cref="Sandbox"/>: a
/// process that mirrors its address space. After a trap there, translated code continues. A stop of the process costs tens of microseconds; a
/// trap in translated code costs next to nothing. So a program is promoted when it runs long between traps, and demoted when the time that it
/// gains is less than its stops cost, or when it often enters code that must be translated (<see cref="DirectAccount"/>). On the vCPU's thread,
/// except <see cref="Kick"/>.
/// </summary>
internal sealed unsafe partial class DirectExecution : IDisposable
{
    private readonly Vcpu _cpu;
    private readonly GuestMemory _memory;
    private readonly TranslatedCode _code;
    private readonly DirectMode _mode;
    private readonly DirectRegisters _registers;
    private readonly HostTraps _traps;
    private readonly CodePages _codePages;
    private readonly PageMirror _pages;
    private readonly Func<ulong, ulong, uint, PageUse, bool> _holds;
    private Affinity? _affinity;
    private Sandbox? _joined; // The sandbox to whose processor the vCPU's thread is bound.

    // The last measurement of a translated program, and the scheduler's statistics of the thread at that time.
    private DirectSnapshot _lastSnapshot;
    private (long Ran, long Waited) _lastSchedule;

    private long _began; // Thread time up to which programs have been charged.
    private bool _refused; // The host can't run sandboxes.

    // The thread that traces the processes.
    private int _thread = Environment.CurrentManagedThreadId;

    private volatile Sandbox? _running; // Read by Kick.

    public DirectExecution(Vcpu cpu, GuestMemory memory, TranslatedCode code, DirectMode mode)
    {
        _cpu = cpu;
        _outlook = cpu.Vm.Outlook;
        _memory = memory;
        _code = code;
        _mode = mode;
        _registers = new DirectRegisters(cpu);
        _traps = new HostTraps(cpu);
        _programs = new DirectPrograms(cpu, memory, mode, _outlook, Release);
        _codePages = new CodePages(cpu, memory, code);
        _pages = new PageMirror(cpu, memory, code, _codePages);
        _holds = _pages.Holds;
        _code.CodeForgotten += Forget;
    }

    /// <summary>Whether RDTSC stops the process (true until a process shows otherwise). If not, pages that contain it run translated.</summary>
    public bool HidesClock => _codePages.HidesClock;

    /// <summary>Whether CPUID stops the process (true until a process shows otherwise). If not, pages that contain it run translated.</summary>
    public bool HidesProcessor => _codePages.HidesProcessor;

    /// <summary>Count of entries into user code.</summary>
    public long Entries { get; private set; }

    /// <summary>Stops at page faults after which a page was mapped and the process resumed.</summary>
    public long Faults { get; private set; }

    /// <summary>Stops at system calls.</summary>
    public long SystemCalls { get; private set; }

    /// <summary>Other stops that the guest or the translator handles: exceptions, RDTSC, pages that must be translated.</summary>
    public long Traps { get; private set; }

    /// <summary>Pages mapped into sandboxes.</summary>
    public long PagesMapped => _pages.PagesMapped;

    /// <summary>Count of programs that began to run directly.</summary>
    public long Promotions { get; private set; }

    /// <summary>Count of programs that run translated again because direct execution did not pay.</summary>
    public long Demotions { get; private set; }

    /// <summary>Count of processes started.</summary>
    public long Sandboxes { get; private set; }

    /// <summary>Processor time of user code in nanoseconds, up to the end of each program's last window.</summary>
    public long UserTime { get; private set; }

    /// <summary>Current cost of a stop in nanoseconds of processor time, including cache and TLB misses after it.</summary>
    public long StopCost => _outlook.StopCost;

    /// <summary>Called when an interrupt arrives while user code runs: measures the program, and may promote or demote it.</summary>
    public void Interrupted()
    {
        if (_programs.Current(create: false) is { } current && current.Lingering.Interrupted(_cpu.State->ReportedRuns))
        {
            current.Avoided = ulong.MaxValue;
            ProgramChanged();
        }

        if (_mode != DirectMode.Auto || _refused)
        {
            return;
        }

        DirectSnapshot before = _lastSnapshot;
        long ran = TracedProcess.ThreadTime - before.ThreadTime;
        if (ran < MinRun)
        {
            return;
        }

        (long began, long waited) = _lastSchedule;
        TakeSnapshot();
        DirectProgram program = _programs.Current(create: true)!;
        program.LastRun = ++_runs;
        bool taken = program.Account.Taken;
        if (!program.Account.Direct)
        {
            _outlook.Contention.Translated(_lastSchedule.Ran - began, _lastSchedule.Waited - waited);
        }

        if (!program.Account.Direct && program.Account.Translated(
            ran, _lastSnapshot.Traps - before.Traps, _lastSnapshot.ReportedRuns - before.ReportedRuns, _lastSnapshot.ProgramChanges == before.ProgramChanges))
        {
            if (!taken)
            {
                Promotions++;
                program.Avoided = ulong.MaxValue;
            }

            if (program.Sandbox is { } sandbox)
            {
                // The time of the sample belongs to no window.
                Begin(program, sandbox);
            }

            ProgramChanged();
        }
        else if (taken && !program.Account.Taken)
        {
            // The sample showed that direct execution does not pay.
            Demote();
        }
    }

    /// <summary>Whether the code at RIP should run directly. Called before each entry into user code.</summary>
    public bool Wants()
    {
        if (_refused)
        {
            return false;
        }

        DirectProgram? program = _programs.Current(create: _mode == DirectMode.Always);
        if (program == null || (!program.Account.Direct && _mode != DirectMode.Always) || Lingers(program))
        {
            return false;
        }

        return _registers.CanCross
            && (_cpu.Dr[7] & DebugRegisters.Enables) == 0
            && (_cpu.Cr4 & Cr4.FSGSBASE) != 0
            && _cpu.Xcr0 == HostXsave.Mask
            && !(program.Sandbox?.Owns(_cpu.Rip) ?? false);
    }

    // Whether translated code should continue, because it runs in a page that can't run directly or left one just now.
    private bool Lingers(DirectProgram program)
    {
        switch (program.Lingering.Next((_cpu.Rip & ~0xFFFul) == program.Avoided, _cpu.State->ReportedRuns))
        {
            case Lingering.Answer.Leave:
                return false;
            case Lingering.Answer.StayForPoll:
                Volatile.Write(ref _cpu.State->Pending, 1);
                break;
            case Lingering.Answer.Pause:
                _cpu.State->DirectWanted = 0;
                Part(program.Sandbox);
                break;
        }

        return true;
    }

    /// <summary>Runs user code until it stops or an event is pending. On return, RIP is the instruction to continue with.</summary>
    public Outcome Run()
    {
        _began = TracedProcess.ThreadTime;
        Outcome outcome = RunUntilStopped(out DirectProgram program);
        Charge(program);
        return outcome;
    }

    private Outcome RunUntilStopped(out DirectProgram program)
    {
        program = _programs.Current(create: false)!;
        if (_thread != Environment.CurrentManagedThreadId)
        {
            // The thread that traced the processes has ended, and PTRACE_O_EXITKILL killed them.
            Dispose();
            program = _programs.Current(create: true)!;
        }

        Sandbox? sandbox = program.Sandbox ?? Start(program);
        if (sandbox == null)
        {
            return Outcome.Retry;
        }

        BringUpToDate(program, sandbox);
        _registers.Compose(out TracedRegisters registers);
        if ((sandbox.UseOf(registers.Rip) & PageUse.Execute) == 0 && !_pages.Show(sandbox, registers.Rip, AccessKind.Execute))
        {
            return Avoid(program, registers.Rip);
        }

        if (program.Missed < 1ul << 47 && sandbox.UseOf(program.Missed) == PageUse.None && !sandbox.Owns(program.Missed))
        {
            _ = _pages.Show(sandbox, program.Missed, AccessKind.Read);
        }

        program.Missed = ulong.MaxValue;
        if (!sandbox.Settle() || !sandbox.Load(registers) || !_registers.LoadExtended(sandbox))
        {
            // The vCPU still has the registers: translated code continues.
            _refused = true;
            Drop(program, sandbox);
            return Outcome.Retry;
        }

        while (true)
        {
            _running = sandbox;
            Interlocked.MemoryBarrier();
            if (_cpu.State->Pending != 0)
            {
                _running = null;
                _registers.TakeBack(sandbox, registers);
                return Outcome.Jumped;
            }

            Entries++;
            _pages.ForgetRefusal();
            TraceStop stop = sandbox.Run(out int signal);
            _running = null;
            if (stop == TraceStop.Exited)
            {
                throw new InvalidOperationException(DirectRegisters.ProcessEnded);
            }

            sandbox.Save(out registers);
            if (stop == TraceStop.Signal && signal == SignalAction.Sigsegv)
            {
                sandbox.ReadSignal(out int code, out ulong address);
                program.Missed = code != HostTraps.KernelSignal ? address : ulong.MaxValue;
                if (code != HostTraps.KernelSignal && _pages.Resolve(sandbox, address, registers.Rip))
                {
                    Faults++;
                    Charge(program);
                    bool keep = Judge(program, sandbox);
                    if (_mode == DirectMode.Auto && !program.Account.Direct)
                    {
                        Outcome outcome = _registers.TakeBack(sandbox, registers) ? Outcome.Retry : Outcome.Fault;
                        if (!keep)
                        {
                            Demote();
                        }

                        return outcome;
                    }

                    if (sandbox.Settle() && sandbox.Load(registers))
                    {
                        continue;
                    }

                    Drop(program, sandbox);
                    throw new InvalidOperationException("the host can't map more memory into the process that runs a guest's program");
                }
            }

            Outcome end = Finish(program, sandbox, registers, stop, signal);
            if (program.Sandbox != null && !Judge(program, sandbox))
            {
                Demote();
            }

            return end;
        }
    }

    /// <summary>Unmaps writable mappings of a page that becomes code.</summary>
    public void StopWriting(ulong gpa) => Revoke(gpa, PageUse.Write);

    /// <summary>Unmaps all writable mappings.</summary>
    public void StopWriting() => Revoke(PageUse.Write);

    /// <summary>Stops user code. Any thread; <see cref="VcpuState.Pending"/> must be set before.</summary>
    public void Kick() => _running?.Kick();

    /// <summary>Updates whether the current program is to run directly. Called after CR3 was written or a program's mode changed.</summary>
    public void ProgramChanged()
    {
        ulong root = _programs.Root;
        if (root != _lastRoot)
        {
            _lastRoot = root;
            _programChanges++;
        }

        _cpu.State->DirectWanted = !_refused && (_mode == DirectMode.Always || _programs.Current(create: false) is { Account.Direct: true }) ? 1 : 0;
    }

    /// <summary>Copies the x87 and vector registers from the process that holds them to the vCPU.</summary>
    public void FetchExtended() => _registers.FetchExtended();

    public void Dispose()
    {
        _schedule.Dispose();
        foreach (DirectProgram program in _held)
        {
            program.Sandbox!.Dispose();
            program.Sandbox = null;
        }

        while (_idle.TryPop(out Sandbox? sandbox))
        {
            sandbox.Dispose();
        }

        _held.Clear();
        _programs.Clear();
        _joined = null;
        _thread = Environment.CurrentManagedThreadId;
    }

    private void BringUpToDate(DirectProgram program, Sandbox sandbox)
    {
        if (_joined != sandbox)
        {
            _affinity ??= new Affinity(_cpu.Vm.Vcpus > 1 ? _cpu.Id : null);
            _affinity.Join(sandbox.ProcessId);
            _joined = sandbox;
        }

        program.BringUpToDate(_cpu.Mmu.CurrentPcid, _holds);
        program.LastRun = ++_runs;
    }

    private void Revoke(ulong gpa, PageUse use)
    {
        foreach (DirectProgram program in _held)
        {
            program.Sandbox!.Revoke(gpa, use);
        }
    }

    // Handles TranslatedCode.CodeForgotten: a page's code was written, or (all ones) the whole code cache was flushed.
    private void Forget(ulong gpa)
    {
        if (gpa == ulong.MaxValue)
        {
            _outlook.ForgetPages();
            _codePages.Forget();
            Revoke(PageUse.Execute);
            return;
        }

        _outlook.Forget(gpa);
        _code.StopReporting(gpa);
        if (_codePages.Forget(gpa, out HashSet<ulong>? followers))
        {
            Revoke(gpa, PageUse.Execute);
        }

        foreach (ulong follower in followers ?? [])
        {
            Forget(follower);
        }
    }

    private void Revoke(PageUse use)
    {
        foreach (DirectProgram program in _held)
        {
            program.Sandbox!.Revoke(use);
        }
    }

    // Translates a stop of the process to what the vCPU does next: an exception, or the instruction at RIP run translated.
    private Outcome Finish(DirectProgram program, Sandbox sandbox, TracedRegisters registers, TraceStop stop, int signal)
    {
        bool step = true;
        if (sandbox.Owns(registers.Rip))
        {
            // The guest jumped into the sandbox's own code, where its address space maps nothing.
            stop = TraceStop.Signal;
            signal = SignalAction.Sigsegv;
        }

        bool trapped = false;
        switch (stop)
        {
            case TraceStop.SystemCall:
                SystemCalls++;
                // SYSCALL or INT 80h: both have two bytes. SYSCALL has overwritten RCX and R11, as it does for the guest.
                registers.Rip -= 2;
                registers.Rax = registers.OrigRax;
                break;
            case TraceStop.Filtered:
                // A call into the vsyscall page, which the host's kernel would emulate. With OrigRax -1 it makes no system call, but returns
                // from the page; the kick stops it there. The guest continues at the call.
                TracedRegisters none = registers with { OrigRax = ulong.MaxValue };
                registers.Rax = registers.OrigRax;
                sandbox.Load(none);
                sandbox.Kick();
                _ = sandbox.Run(out _);
                break;
            case TraceStop.Signal when signal == SignalAction.Sigtrap:
                sandbox.ReadSignal(out int trap, out _);
                trapped = trap == HostTraps.StepTrap;
                step = HostTraps.IsBreakpoint(trap);
                registers.Rip -= _traps.BreakpointLength(trap, registers.Rip);
                break;
            case TraceStop.Signal when signal == SignalAction.Sigsegv && _traps.IsOverflow(sandbox, registers):
                registers.Rip -= 2;
                break;
            case TraceStop.Signal:
                step = signal is SignalAction.Sigsegv or SignalAction.Sigbus or SignalAction.Sigill or SignalAction.Sigfpe;
                break;
        }

        if (!_registers.TakeBack(sandbox, registers))
        {
            return Outcome.Fault;
        }

        if (trapped)
        {
            _cpu.Dr[6] |= DebugRegisters.BS;
            return _cpu.Raise(Vector.Debug);
        }

        if (!step)
        {
            return Outcome.Jumped;
        }

        Traps += stop == TraceStop.SystemCall ? 0 : 1;
        if (_pages.RefusedCode)
        {
            Detour(program);
        }

        return Avoid(program, registers.Rip);
    }

    // The process can't run the code at RIP: its page must be translated, or the instruction faults and is run once by the translator.
    private Outcome Avoid(DirectProgram program, ulong rip)
    {
        if (_pages.RefusedCode)
        {
            program.Avoided = rip & ~0xFFFul;
        }
        else
        {
            _cpu.StepOnce();
        }

        return Outcome.Retry;
    }
}
