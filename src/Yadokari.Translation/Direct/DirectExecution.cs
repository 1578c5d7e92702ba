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
/// Direct execution of user code: trap and emulate, for programs that run long between traps. Each such program has a
/// <see cref="Sandbox"/>, a process that mirrors its address space; what traps there goes on under translation. A stop costs tens of
/// microseconds, under translation next to nothing. So a program is taken on when it ran long for what it trapped, and given back when
/// the processor time that it used was not worth its stops, or it keeps coming to code that must be translated (<see cref="DirectAccount"/>).
/// Of the vCPU's thread, but for <see cref="Kick"/>.
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
    private Sandbox? _joined;

    // At the last look at a translated program, and what its thread had run and waited by then.
    private DirectSnapshot _looked;
    private (long Ran, long Waited) _lookedSchedule;

    private long _began;
    private bool _refused;

    // The thread whose children the processes are.
    private int _thread = Environment.CurrentManagedThreadId;

    private volatile Sandbox? _running;

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

    /// <summary>RDTSC stops the process, as far as is known; where it does not, pages with it run translated.</summary>
    public bool HidesClock => _codePages.HidesClock;

    /// <summary>CPUID stops the process, as far as is known; where it does not, pages with it run translated.</summary>
    public bool HidesProcessor => _codePages.HidesProcessor;

    /// <summary>Times that user code was entered.</summary>
    public long Entries { get; private set; }

    /// <summary>Stops that mapped memory and went on.</summary>
    public long Faults { get; private set; }

    /// <summary>Stops at system calls.</summary>
    public long SystemCalls { get; private set; }

    /// <summary>Stops at whatever else the guest or the translator is to deal with: exceptions, RDTSC, pages that need translation.</summary>
    public long Traps { get; private set; }

    /// <summary>Pages mapped into sandboxes.</summary>
    public long PagesMapped => _pages.PagesMapped;

    /// <summary>Programs taken on.</summary>
    public long Promotions { get; private set; }

    /// <summary>Programs given back to the translator because they trapped too often.</summary>
    public long Demotions { get; private set; }

    /// <summary>Processes started.</summary>
    public long Sandboxes { get; private set; }

    /// <summary>Processor time of user code, in nanoseconds, but for what is left since the last look.</summary>
    public long UserTime { get; private set; }

    /// <summary>Nanoseconds of processor time that a stop costs now, with what it makes slower afterwards.</summary>
    public long StopCost => _outlook.StopCost;

    /// <summary>A timer or other interrupt arrives while user code runs: would it have been better off directly?</summary>
    public void Interrupted()
    {
        if (_programs.Current(create: false) is { } current && current.Lingering.Interrupted(_cpu.State->ReportedRuns))
        {
            current.Avoided = ulong.MaxValue;
            Turned();
        }

        if (_mode != DirectMode.Auto || _refused)
        {
            return;
        }

        DirectSnapshot before = _looked;
        long ran = TracedProcess.ThreadTime - before.ThreadTime;
        if (ran < LeastRun)
        {
            return;
        }

        (long began, long waited) = _lookedSchedule;
        Look();
        DirectProgram program = _programs.Current(create: true)!;
        program.LastRun = ++_runs;
        bool taken = program.Account.Taken;
        if (!program.Account.Direct)
        {
            _outlook.Contention.Translated(_lookedSchedule.Ran - began, _lookedSchedule.Waited - waited);
        }

        if (!program.Account.Direct && program.Account.Translated(
            ran, _looked.Traps - before.Traps, _looked.ReportedRuns - before.ReportedRuns, _looked.Turns == before.Turns))
        {
            if (!taken)
            {
                Promotions++;
                program.Avoided = ulong.MaxValue;
            }

            if (program.Sandbox is { } sandbox)
            {
                // What it took translated is of no window.
                Begin(program, sandbox);
            }

            Turned();
        }
        else if (taken && !program.Account.Taken)
        {
            // A sample said so.
            GiveBack();
        }
    }

    /// <summary>Whether the code that is about to run should run directly. Called before each entry into user code.</summary>
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

    // Whether translated code had better go on: it is in a page that can't run directly, or was there just now.
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

    /// <summary>Runs user code until something needs the monitor. RIP is then what to go on with.</summary>
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
            // The thread that traced them is gone, and so are they.
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
            // The registers are still the vCPU's, which goes on under translation.
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
                            GiveBack();
                        }

                        return outcome;
                    }

                    if (sandbox.Settle() && sandbox.Load(registers))
                    {
                        continue;
                    }

                    Drop(program, sandbox);
                    throw new InvalidOperationException("the host no longer maps memory for a guest's program");
                }
            }

            Outcome end = Finish(program, sandbox, registers, stop, signal);
            if (program.Sandbox != null && !Judge(program, sandbox))
            {
                GiveBack();
            }

            return end;
        }
    }

    /// <summary>A page becomes code: no program may write it unseen.</summary>
    public void StopWriting(ulong gpa) => Revoke(gpa, PageUse.Write);

    /// <summary>No program may write any page unseen.</summary>
    public void StopWriting() => Revoke(PageUse.Write);

    /// <summary>Makes user code stop soon. Any thread; after the pending word was set.</summary>
    public void Kick() => _running?.Kick();

    /// <summary>CR3 was written.</summary>
    public void Turned()
    {
        ulong root = _programs.Root;
        if (root != _turnedRoot)
        {
            _turnedRoot = root;
            _turns++;
        }

        _cpu.State->DirectWanted = !_refused && (_mode == DirectMode.Always || _programs.Current(create: false) is { Account.Direct: true }) ? 1 : 0;
    }

    /// <summary>Brings the vCPU's x87 and vector registers back from the process that has them.</summary>
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

    // A page's code was written, or (all ones) nothing is known of any page.
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

    private Outcome Finish(DirectProgram program, Sandbox sandbox, TracedRegisters registers, TraceStop stop, int signal)
    {
        bool step = true;
        if (sandbox.Owns(registers.Rip))
        {
            // It jumped among the sandbox's own instructions, where the guest has none.
            stop = TraceStop.Signal;
            signal = SignalAction.Sigsegv;
        }

        bool trapped = false;
        switch (stop)
        {
            case TraceStop.SystemCall:
                SystemCalls++;
                // SYSCALL, or INT 80h: both of two bytes. RCX and R11 are lost, as they are to the guest.
                registers.Rip -= 2;
                registers.Rax = registers.OrigRax;
                break;
            case TraceStop.Filtered:
                // The kernel would answer a call into the vsyscall page itself: told that there is no call, it only returns from it, to
                // stop at once. The guest goes on where it called.
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

    // The code at RIP is not for the process: either the guest is to take a fault, or its page holds what shows the host.
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
