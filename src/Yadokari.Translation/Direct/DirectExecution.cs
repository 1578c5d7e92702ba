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
    // Selectors of Linux's user segments (arch/x86/include/asm/segment.h), which the process has. Programs can read theirs: only those that
    // have the same are run directly.
    private const ushort CodeSelector = 0x33;
    private const ushort DataSelector = 0x2B;

    // si_code SI_KERNEL: a signal for INT3, for INT 4, and for #GP, which has no address; of SIGTRAP, TRAP_BRKPT for INT1 and TRAP_TRACE for
    // a single step (Linux: arch/x86/kernel/traps.c).
    private const int KernelSignal = 0x80;
    private const int BreakpointTrap = 1;
    private const int StepTrap = 2;
    private const byte Int1 = 0xF1;
    private const string ProcessEnded = "the host ended the process in which a guest's program ran; the machine's state is lost";
    private const ulong FlagTrap = 1ul << 8;
    private const ulong FlagResume = 1ul << 16;

    // TF, NT, RF, VM, VIF, VIP: the process can't be given them, or means something else by them.
    private const ulong ForeignFlags = FlagTrap | (1ul << 14) | FlagResume | (1ul << 17) | (1ul << 19) | (1ul << 20);

    // What user code changes by itself: CF PF AF ZF SF TF DF OF NT AC ID.
    private const ulong UserFlags = Vcpu.ArithmeticFlags | FlagTrap | (1ul << 10) | (1ul << 14) | (1ul << 18) | (1ul << 21);

    // An INT1 was seen at which the host stopped, and not behind it.
    private static bool s_hostStopsAtInt1;

    private readonly Vcpu _cpu;
    private readonly GuestMemory _memory;
    private readonly TranslatedCode _code;
    private readonly DirectMode _mode;
    private readonly Func<ulong, ulong, uint, PageUse, bool> _holds;
    private Affinity? _affinity;
    private Sandbox? _joined;

    // At the last look at a translated program, and what its thread had run and waited by then.
    private Snapshot _looked;
    private (long Ran, long Waited) _lookedSchedule;

    private long _began;
    private bool _refused;

    // The process that has the vCPU's extended state, which most stops need not see.
    private Sandbox? _holder;

    // The thread whose children the processes are.
    private int _thread = Environment.CurrentManagedThreadId;

    // The last page that could not be shown holds code that must be translated.
    private bool _sensitive;

    private volatile Sandbox? _running;

    public DirectExecution(Vcpu cpu, GuestMemory memory, TranslatedCode code, DirectMode mode)
    {
        _cpu = cpu;
        _outlook = cpu.Vm.Outlook;
        _memory = memory;
        _code = code;
        _mode = mode;
        _holds = Holds;
        _scan = new UserCode(cpu.Vm.InstructionSet.Decoding);
        _code.CodeForgotten += Forget;
    }

    /// <summary>RDTSC stops the process, as far as is known; where it does not, pages with it run translated.</summary>
    public bool HidesClock => _scan.HidesClock;

    /// <summary>CPUID stops the process, as far as is known; where it does not, pages with it run translated.</summary>
    public bool HidesProcessor => _scan.HidesProcessor;

    /// <summary>Times that user code was entered.</summary>
    public long Entries { get; private set; }

    /// <summary>Stops that mapped memory and went on.</summary>
    public long Faults { get; private set; }

    /// <summary>Stops at system calls.</summary>
    public long SystemCalls { get; private set; }

    /// <summary>Stops at whatever else the guest or the translator is to deal with: exceptions, RDTSC, pages that need translation.</summary>
    public long Traps { get; private set; }

    /// <summary>Pages mapped into sandboxes.</summary>
    public long PagesMapped { get; private set; }

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
        if (Current(create: false) is { } current && current.Lingering.Interrupted(_cpu.State->ReportedRuns))
        {
            current.Avoided = ulong.MaxValue;
            Turned();
        }

        if (_mode != DirectMode.Auto || _refused)
        {
            return;
        }

        Snapshot before = _looked;
        long ran = TracedProcess.ThreadTime - before.ThreadTime;
        if (ran < LeastRun)
        {
            return;
        }

        (long began, long waited) = _lookedSchedule;
        Look();
        Program program = Current(create: true)!;
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

        Program? program = Current(create: _mode == DirectMode.Always);
        if (program == null || (!program.Account.Direct && _mode != DirectMode.Always) || Lingers(program))
        {
            return false;
        }

        ref readonly SegmentState stack = ref _cpu.Segments[2];
        return _cpu.Segments[1].Selector == CodeSelector && stack.Selector == DataSelector
            && IsPlain(0) && IsPlain(3) && _cpu.Segments[4].Selector == 0 && _cpu.Segments[5].Selector == 0
            && (_cpu.State->SystemFlags & ForeignFlags) == 0
            && (_cpu.Dr[7] & DebugRegisters.Enables) == 0
            && (_cpu.Cr4 & Cr4.FSGSBASE) != 0
            && _cpu.Xcr0 == Vcpu.HostXsaveMask
            && !(program.Sandbox?.Owns(_cpu.Rip) ?? false);
    }

    // Whether translated code had better go on: it is in a page that can't run directly, or was there just now.
    private bool Lingers(Program program)
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
        Outcome outcome = RunUntilStopped(out Program program);
        Charge(program);
        return outcome;
    }

    private Outcome RunUntilStopped(out Program program)
    {
        program = Current(create: false)!;
        if (_thread != Environment.CurrentManagedThreadId)
        {
            // The thread that traced them is gone, and so are they.
            Dispose();
            program = Current(create: true)!;
        }

        Sandbox? sandbox = program.Sandbox ?? Start(program);
        if (sandbox == null)
        {
            return Outcome.Retry;
        }

        BringUpToDate(program, sandbox);
        Compose(out TracedRegisters registers);
        if ((sandbox.UseOf(registers.Rip) & PageUse.Execute) == 0 && !Show(sandbox, registers.Rip, AccessKind.Execute))
        {
            return Avoid(program, registers.Rip);
        }

        if (program.Missed < 1ul << 47 && sandbox.UseOf(program.Missed) == PageUse.None && !sandbox.Owns(program.Missed))
        {
            _ = Show(sandbox, program.Missed, AccessKind.Read);
        }

        program.Missed = ulong.MaxValue;
        if (!sandbox.Settle() || !sandbox.Load(registers) || !LoadExtended(sandbox))
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
                TakeBack(sandbox, registers);
                return Outcome.Jumped;
            }

            Entries++;
            _sensitive = false;
            TraceStop stop = sandbox.Run(out int signal);
            _running = null;
            if (stop == TraceStop.Exited)
            {
                throw new InvalidOperationException(ProcessEnded);
            }

            sandbox.Save(out registers);
            if (stop == TraceStop.Signal && signal == SignalAction.Sigsegv)
            {
                sandbox.ReadSignal(out int code, out ulong address);
                program.Missed = code != KernelSignal ? address : ulong.MaxValue;
                if (code != KernelSignal && Resolve(sandbox, address, registers.Rip))
                {
                    Faults++;
                    Charge(program);
                    bool keep = Judge(program, sandbox);
                    if (_mode == DirectMode.Auto && !program.Account.Direct)
                    {
                        Outcome outcome = TakeBack(sandbox, registers) ? Outcome.Retry : Outcome.Fault;
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
    public void StopWriting()
    {
        foreach (Program program in _held)
        {
            program.Sandbox!.Revoke(PageUse.Write);
        }
    }

    /// <summary>Makes user code stop soon. Any thread; after the pending word was set.</summary>
    public void Kick() => _running?.Kick();

    /// <summary>CR3 was written.</summary>
    public void Turned()
    {
        ulong root = _cpu.Cr3 & RootBits;
        if (root != _turnedRoot)
        {
            _turnedRoot = root;
            _turns++;
        }

        _cpu.State->DirectWanted = !_refused && (_mode == DirectMode.Always || Current(create: false) is { Account.Direct: true }) ? 1 : 0;
    }

    /// <summary>Brings the vCPU's x87 and vector registers back from the process that has them.</summary>
    public void FetchExtended()
    {
        if (_holder is { } sandbox)
        {
            _holder = null;
            _cpu.State->ExtendedAway = 0;
            var area = new Span<byte>(_cpu.XsaveArea, Vcpu.XsaveLength);
            if (!sandbox.SaveExtended(area))
            {
                throw new InvalidOperationException(ProcessEnded);
            }

            _cpu.LoadX87Pointers(area);
        }
    }

    public void Dispose()
    {
        _schedule?.Dispose();
        _schedule = null;
        foreach (Program program in _held)
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
        _currentRoot = ulong.MaxValue;
        _joined = null;
        _thread = Environment.CurrentManagedThreadId;
    }

    private bool IsPlain(int segment) => _cpu.Segments[segment].Selector is 0 or DataSelector;

    private void Compose(out TracedRegisters r)
    {
        r = default;
        (r.Rax, r.Rcx, r.Rdx, r.Rbx) = (_cpu.Rax, _cpu.Rcx, _cpu.Rdx, _cpu.Rbx);
        (r.Rsp, r.Rbp, r.Rsi, r.Rdi) = (_cpu.Rsp, _cpu.Rbp, _cpu.Rsi, _cpu.Rdi);
        (r.R8, r.R9, r.R10, r.R11) = (_cpu.Gpr(8), _cpu.Gpr(9), _cpu.Gpr(10), _cpu.Gpr(11));
        (r.R12, r.R13, r.R14, r.R15) = (_cpu.Gpr(12), _cpu.Gpr(13), _cpu.Gpr(14), _cpu.Gpr(15));
        r.OrigRax = ulong.MaxValue;
        r.Rip = _cpu.Rip;
        r.Rflags = (_cpu.Rflags & UserFlags) | 0x202;
        (r.Cs, r.Ss, r.Ds, r.Es) = (CodeSelector, DataSelector, _cpu.Segments[3].Selector, _cpu.Segments[0].Selector);
        (r.FsBase, r.GsBase) = (_cpu.State->SegmentBase[4], _cpu.State->SegmentBase[5]);
    }

    // The guest's registers as the process left them. False: a segment register holds what the guest's tables do not, and that is raised.
    private bool TakeBack(Sandbox sandbox, in TracedRegisters r)
    {
        (_cpu.Rax, _cpu.Rcx, _cpu.Rdx, _cpu.Rbx) = (r.Rax, r.Rcx, r.Rdx, r.Rbx);
        (_cpu.Rsp, _cpu.Rbp, _cpu.Rsi, _cpu.Rdi) = (r.Rsp, r.Rbp, r.Rsi, r.Rdi);
        (_cpu.Gpr(8), _cpu.Gpr(9), _cpu.Gpr(10), _cpu.Gpr(11)) = (r.R8, r.R9, r.R10, r.R11);
        (_cpu.Gpr(12), _cpu.Gpr(13), _cpu.Gpr(14), _cpu.Gpr(15)) = (r.R12, r.R13, r.R14, r.R15);
        _cpu.Rip = r.Rip;
        _cpu.Rflags = (_cpu.Rflags & ~UserFlags) | (r.Rflags & UserFlags);
        _holder = sandbox;
        _cpu.State->ExtendedAway = 1;
        bool known = true;
        foreach ((int index, ulong selector) in (ReadOnlySpan<(int, ulong)>)[(1, r.Cs), (2, r.Ss), (3, r.Ds), (0, r.Es), (4, r.Fs), (5, r.Gs)])
        {
            known &= _cpu.Segments[index].Selector == selector || SegmentInstructions.Reload(_cpu, index, (ushort)selector);
        }

        Rebase(4, r.FsBase);
        Rebase(5, r.GsBase);
        return known;
    }

    private bool LoadExtended(Sandbox sandbox)
    {
        if (_holder != sandbox)
        {
            var area = new Span<byte>(_cpu.XsaveArea, Vcpu.XsaveLength);
            _cpu.StoreX87Pointers(area);
            if (!sandbox.LoadExtended(area))
            {
                return false;
            }
        }

        _holder = null;
        _cpu.State->ExtendedAway = 0;
        return true;
    }

    private void Rebase(int segment, ulong start)
    {
        if (_cpu.Segments[segment].Base != start)
        {
            _cpu.SetSegment(segment, _cpu.Segments[segment] with { Base = start });
        }
    }

    private Outcome Finish(Program program, Sandbox sandbox, TracedRegisters registers, TraceStop stop, int signal)
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
                trapped = trap == StepTrap;
                step = trap is KernelSignal or BreakpointTrap;
                registers.Rip -= trapped || !step || (trap == BreakpointTrap && IsAtInt1(registers.Rip)) ? 0 : BreakpointLength(registers.Rip);
                break;
            case TraceStop.Signal when signal == SignalAction.Sigsegv && IsOverflow(sandbox, registers):
                registers.Rip -= 2;
                break;
            case TraceStop.Signal:
                step = signal is SignalAction.Sigsegv or SignalAction.Sigbus or SignalAction.Sigill or SignalAction.Sigfpe;
                break;
        }

        if (!TakeBack(sandbox, registers))
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
        if (_sensitive)
        {
            Detour(program);
        }

        return Avoid(program, registers.Rip);
    }

    // INT 4 is a trap, which the host tells apart from #GP by no more than that it leaves RF clear (SDM 3B 18.3.1.1) and comes after the instruction.
    private bool IsOverflow(Sandbox sandbox, in TracedRegisters registers)
    {
        sandbox.ReadSignal(out int code, out _);
        if (code != KernelSignal || (registers.Rflags & FlagResume) != 0 || sandbox.Owns(registers.Rip))
        {
            return false;
        }

        ulong cr2 = _cpu.Cr2;
        bool interrupt = _cpu.Read(registers.Rip - 2, out ushort last) && last == 0x04CD;
        _cpu.ClearRaised();
        _cpu.Cr2 = cr2;
        return interrupt;
    }

    // INT3 and INT1 are one byte, INT 3 is two.
    private ulong BreakpointLength(ulong after)
    {
        bool one = !_cpu.Read(after - 1, out byte last) || last is 0xCC or Int1;
        _cpu.ClearRaised();
        return one ? 1u : 2u;
    }

    // Whether the host stopped at an INT1, and not behind it as processors do: a hypervisor that catches #DB may hand it on so. Where an INT1
    // stands on both sides, what was seen of the host before decides.
    private bool IsAtInt1(ulong rip)
    {
        ulong cr2 = _cpu.Cr2;
        const int Longest = 15;
        int length = 0;
        byte value;
        while (_cpu.Read(rip + (ulong)length, out value) && length < Longest - 1 && InstructionForms.IsPrefix(value, 64))
        {
            length++;
        }

        bool behind = _cpu.Read(rip - 1, out byte last) && last == Int1;
        _cpu.ClearRaised();
        _cpu.Cr2 = cr2;
        s_hostStopsAtInt1 |= value == Int1 && !behind;
        return value == Int1 && s_hostStopsAtInt1;
    }

    // The code at RIP is not for the process: either the guest is to take a fault, or its page holds what shows the host.
    private Outcome Avoid(Program program, ulong rip)
    {
        if (_sensitive)
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
