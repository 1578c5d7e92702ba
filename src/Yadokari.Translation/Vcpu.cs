using System.Diagnostics;
using System.Runtime.CompilerServices;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.Translation.Direct;
using Yadokari.Translation.Emulation;
using Yadokari.Translation.Memory;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Engines;
using Yadokari.X86.Msrs;
using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>A vCPU of the translation engine: the loop that runs translated code and delivers events.</summary>
internal sealed unsafe partial class Vcpu : IX86Vcpu
{
    private readonly TranslationVm _vm;
    private readonly GuestMemory _memory;
    private readonly IX86VcpuHost _host;
    private readonly TranslatedCode _code;
    private readonly Coherence _coherence;
    private readonly Tlb _tlb;
    private readonly byte* _window;
    private volatile bool _kicked;
    private volatile bool _disposed; // The memory of State is unmapped.
    private readonly DebuggerStops _debugger = new();

    /// <summary>The guest's MAXPHYADDR.</summary>
    internal int PhysicalAddressBits => Cpuid.PhysicalAddressBits;

    internal Vcpu(TranslationVm vm, int id, IX86VcpuHost host)
    {
        _vm = vm;
        Id = id;
        _memory = vm.Memory;
        _host = host;
        _code = new TranslatedCode(_memory, vm.CodeCacheBytes, vm.InstructionSet, vm.Crowded);
        _coherence = vm.Coherence;
        Trace = vm.TraceWriter == null ? null : new Trace(vm.TraceWriter);
        _tlb = new Tlb(_memory);
        _window = _tlb.Window;
        Mode = new BlockMode(this, _tlb);
        Fetch = new InstructionFetch(this, _memory, _code, _tlb);
        Accesses = new AccessSlowPath(this, _code);
        Mmu = new Mmu(this, _memory, _tlb, _code.CrossPage);
        Memory = new LinearMemory(this);
        Segments = new SegmentUnit(State);
        X87 = new X87Unit(this);
        MsrFile = new MsrFile(vm.Model);
        InstructionAccesses accesses = new(this);
        Debugging = new DebugUnit(this, accesses);
        Alignment = new AlignmentChecks(this, accesses);
        _code.PageBecomesCode = BecomesCode;
        _code.PageIsNoCode = gpa => _coherence.IsNoCode(this, gpa);
        _code.Cleared += _tlb.FlushJumps;
        Direct = vm.Direct == DirectMode.Off ? null : new DirectExecution(this, _memory, _code, vm.Direct);
        Reset();
        _coherence.Join(this);
    }

    /// <summary>Its translated blocks.</summary>
    internal TranslatedCode Translated => _code;

    /// <summary>Count of emulated PAUSE instructions: they are emulated if there are more vCPUs than host processors.</summary>
    internal long Pauses { get; set; }

    /// <summary>Makes the emulation of a locked instruction atomic: stops other vCPUs until the returned section is disposed.</summary>
    internal Coherence.Section Atomically(in Instruction instruction) => IsAtomic(instruction) ? _coherence.StopTheWorld(this) : default;

    private bool IsAtomic(in Instruction instruction)
        => _vm.Vcpus > 1 && (instruction.HasLockPrefix || (instruction.Mnemonic == Mnemonic.Xchg && instruction.OpCount == 2
            && (instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory)));

    /// <summary>Direct execution of user code; null if it is switched off.</summary>
    internal DirectExecution? Direct { get; }

    /// <inheritdoc/>
    public int Id { get; }

    internal IX86VcpuHost Host => _host;

    /// <summary>The guest's CPUID leaves.</summary>
    internal CpuidModel Cpuid => _vm.Cpuid;

    /// <summary>MSRs that have no effect on the engine.</summary>
    internal MsrFile MsrFile { get; }

    /// <inheritdoc/>
    public ulong ReadTsc() => _disposed ? 0 : _vm.Clock.Read(in State->TscOffset);

    /// <summary>Adds a distance to the TSC, atomically with respect to writes by the guest. Any thread.</summary>
    internal void MoveTsc(ulong distance) => Interlocked.Add(ref State->TscOffset, distance);

    internal TranslationVm Vm => _vm;

    /// <inheritdoc/>
    public bool SingleStep
    {
        get => _debugger.SingleStep;
        set
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _debugger.SingleStep = value;
            ModeChanged();
        }
    }

    internal Trace? Trace { get; }

    internal long Exits { get; private set; }

    /// <summary>Exits by <see cref="SiteKind"/>.</summary>
    internal long[] ExitsByKind { get; } = new long[Enum.GetValues<SiteKind>().Length];

    internal long Interrupts { get; private set; }

    internal long Exceptions { get; private set; }

    internal uint SystemCalls => State->SystemCalls;

    /// <inheritdoc/>
    public void Kick()
    {
        _kicked = true;
        Notify();
    }

    /// <inheritdoc/>
    public void Notify()
    {
        if (_disposed)
        {
            return;
        }

        Interlocked.Exchange(ref State->Pending, 1);
        Direct?.Kick();
    }

    /// <inheritdoc/>
    public void SetA20(bool open)
    {
        _a20Wanted = open;
        Notify();
    }

    private volatile bool _a20Wanted = true;

    /// <inheritdoc/>
    public void RaiseNmi()
    {
        Events.RaiseNmi();
        Notify();
    }

    /// <inheritdoc/>
    public bool HasNmi => Events.HasNmi;

    /// <summary>The guest's debug registers and single stepping.</summary>
    internal DebugUnit Debugging { get; }

    /// <summary>The mode for which blocks are translated now.</summary>
    internal BlockMode Mode { get; }

    /// <summary>Alignment checking (#AC).</summary>
    internal AlignmentChecks Alignment { get; }

    /// <summary>The slow path of memory accesses of translated code.</summary>
    internal AccessSlowPath Accesses { get; }

    /// <summary>Finds the instruction or the block at RIP.</summary>
    internal InstructionFetch Fetch { get; }

    /// <summary>Whether a debugger of the host single-steps it or has set breakpoints.</summary>
    internal bool IsDebugged => _debugger.IsActive;

    /// <summary>Translation of linear addresses.</summary>
    internal Mmu Mmu { get; }

    /// <summary>Memory accesses of emulated instructions.</summary>
    internal LinearMemory Memory { get; }

    /// <summary>Pending events.</summary>
    internal PendingEvents Events { get; } = new();

    /// <inheritdoc/>
    public void SetBreakpoints(IReadOnlyCollection<ulong> addresses)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _debugger.SetBreakpoints(addresses);
        ModeChanged();
    }

    /// <inheritdoc/>
    public VmExit Run()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        IsRunning = true;
        EnterGuestCode();
        try
        {
            return !_vm.Clock.IsStopped ? _debugger.Left(RunInside()) : throw new InvalidOperationException($"vCPU {Id} can't run while the machine's clock is stopped: start the clock first.");
        }
        finally
        {
            // Outside Run, any thread may read the state, but only this one can fetch it from a traced process.
            FetchExtended();
            Requests.Leave();
            IsRunning = false;
        }
    }

    /// <summary>Whether its thread is in <see cref="Run"/>. Any thread.</summary>
    internal bool IsRunning { get => _running; private set => _running = value; }

    private volatile bool _running;

    private VmExit RunInside()
    {
        if (!TryWake(out VmExit exit))
        {
            return exit;
        }

        _tlb.ForgetThread();
        if (Events.TryTakeInjected(out PendingEvent injected) && !TryDeliver(injected))
        {
            return Ended();
        }

        Block? block = null;
        while (true)
        {
            if (State->Pending != 0 && IsKicked(ref block))
            {
                return VmExit.Kicked;
            }

            if (!TryTakeEvents(ref block))
            {
                return Ended();
            }

            CpuMode mode = Mode.Current;
            bool shadowed = _shadowed;
            bool stepping = _steps > 0;
            if (shadowed || stepping)
            {
                mode |= CpuMode.Single;
                _shadowed = false;
                _steps = Math.Max(0, _steps - 1);
            }

            if ((mode & CpuMode.Single) != 0 && IsDebugged && _debugger.StopsBefore(LinearRip))
            {
                Events.InterruptShadow |= shadowed;
                _steps += stepping ? 1 : 0;
                return VmExit.Debug;
            }

            ulong resume = State->SystemFlags & Operands.FlagResume;
            switch (_debugger.After(RunNext(mode, ref block)))
            {
                case Outcome.Retry:
                    // The instruction has not run: it must still run alone, and translated, because direct execution may have stopped at it.
                    _steps = stepping ? Math.Max(_steps, 1) : _steps;
                    Events.InterruptShadow |= shadowed;
                    State->SystemFlags |= resume;
                    break;
                case Outcome.Halt when Events.HasNmi:
                    break;
                case Outcome.Halt:
                    // A pending interrupt is taken in the next iteration.
                    if ((State->SystemFlags & 0x200) != 0 && _host.HasInterrupt(Id))
                    {
                        break;
                    }

                    Activity = ActivityState.Halted;
                    return Halted;
                case Outcome.Shutdown:
                    return Ended();
            }
        }
    }

    // Handles what other threads requested: parking, a change of A20. Returns whether Run must return because of a kick.
    private bool IsKicked(ref Block? block)
    {
        Interlocked.Exchange(ref State->Pending, 0);
        ParkWhileStopped();
        if (Mmu.A20 != _a20Wanted)
        {
            Mmu.A20 = _a20Wanted;
            Mmu.FlushAll();
            block = null;
        }

        bool kicked = _kicked;
        if (kicked)
        {
            _kicked = false;
        }

        return kicked;
    }

    // Delivers a pending NMI or interrupt, unless the interrupt shadow delays it. Returns false if the delivery ended the run.
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, the loop: an exit for CPUID takes 76 ns inlined, and 88 with calls.
    private bool TryTakeEvents(ref Block? block)
    {
        if (Events.InterruptShadow)
        {
            // One instruction runs before interrupts are checked again.
            Events.InterruptShadow = false;
            _shadowed = true;
            return true;
        }

        int vector = -1;
        if (Events.HasNmi)
        {
            Events.TakeNmi();
            vector = (int)Vector.Nmi;
        }
        else if (_host.HasInterrupt(Id))
        {
            State->InterruptWaiting = 1;
            vector = (State->SystemFlags & 0x200) != 0 ? _host.AcknowledgeInterrupt(Id) : -1;
            if (vector >= 0 && Cpl == 3)
            {
                Direct?.Interrupted();
            }
        }
        else
        {
            State->InterruptWaiting = 0;
        }

        if (vector < 0)
        {
            return true;
        }

        Interrupts++;
        block = null;
        Trace?.Interrupt(this, vector);
        return InterruptDelivery.Deliver(this, vector, null, software: false) != Outcome.Shutdown;
    }

    // Runs the code at RIP: directly, or as a block. The given block is used if it is still valid for the mode.
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, the loop: an exit for CPUID takes 76 ns inlined, and 88 with calls.
    private Outcome RunNext(CpuMode mode, ref Block? block)
    {
        if ((mode & CpuMode.Single) != 0 && Debugging.HitsBreakpoint())
        {
            block = null;
            return DeliverRaised();
        }

        if ((mode & ~CpuMode.Down) == DirectUserMode && Direct != null && Direct.Wants())
        {
            block = null;
            return Direct.Run() == Outcome.Fault ? DeliverRaised() : Outcome.Jumped;
        }

        bool aligned = Alignment.AreOn;
        if (aligned)
        {
            mode |= CpuMode.Single;
        }

        if (block == null || !block.Valid || block.Mode != mode)
        {
            block = Fetch.FindBlock(mode);
        }

        if (block == null || (aligned && Alignment.Fail(mode)))
        {
            block = null;
            return DeliverRaised();
        }

        return RunBlock(ref block, single: (mode & CpuMode.Single) != 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, the loop: an exit for CPUID takes 76 ns inlined, and 88 with calls.
    private Outcome RunBlock(ref Block? block, bool single)
    {
        Trace?.Enter(this, block!);
        Debugging.Begin(single);
        if (block!.UsesSimd)
        {
            FetchExtended();
        }

        Enter(block.Entry, simd: false);
        Outcome outcome = AfterExit(ref block);
        if (Debugging.TrapsAfter(outcome))
        {
            block = null;
            outcome = DeliverRaised();
        }

        return outcome;
    }

    private VmExit Ended()
    {
        if (_caughtNow)
        {
            _caughtNow = false;
            return VmExit.Exception;
        }

        Activity = ActivityState.Shutdown;
        return VmExit.Shutdown;
    }

    /// <summary>The activity state (SDM 3C 25.4.2): whether it executes instructions.</summary>
    internal ActivityState Activity { get; set; }

    private VmExit Halted => (State->SystemFlags & 0x200) == 0 ? VmExit.HaltedWithInterruptsDisabled : VmExit.Halted;

    // Makes a halted vCPU active if an event is pending or a debugger steps it. If it stays inactive, returns false and the exit of Run.
    private bool TryWake(out VmExit exit)
    {
        exit = VmExit.Kicked;
        bool awake = Events.HasInjected || Activity switch
        {
            ActivityState.Active => true,
            ActivityState.Halted => SingleStep || Events.HasNmi || ((State->SystemFlags & 0x200) != 0 && _host.HasInterrupt(Id)),
            _ => false,
        };
        if (awake)
        {
            Activity = ActivityState.Active;
        }
        else if (_kicked)
        {
            _kicked = false;
        }
        else
        {
            exit = Activity switch
            {
                ActivityState.Halted => Halted,
                ActivityState.Shutdown => VmExit.Shutdown,
                _ => VmExit.WaitsForStart,
            };
        }

        return awake;
    }

    // Delivers an event of a loaded state; false if that ended the run.
    private bool TryDeliver(in PendingEvent pending)
    {
        if (pending.IsInterrupt)
        {
            Interrupts++;
        }
        else
        {
            Exceptions++;
            if (Catches(pending.Vector, pending.ErrorCode, software: false))
            {
                return false;
            }
        }

        return InterruptDelivery.Deliver(this, pending.Vector, pending.ErrorCode, software: false) != Outcome.Shutdown;
    }

    /// <inheritdoc/>
    public bool CatchExceptions { get; set; }

    /// <inheritdoc/>
    public CaughtException Caught { get; private set; }

    private bool _caughtNow;

    /// <summary>Whether an exception ends the run (<see cref="CatchExceptions"/>) instead of being delivered to the guest; records it then.</summary>
    internal bool Catches(int vector, uint? errorCode, bool software)
    {
        if (CatchExceptions)
        {
            Caught = new CaughtException(vector, errorCode, software);
            _caughtNow = true;
        }

        return CatchExceptions;
    }

    private const CpuMode DirectUserMode = CpuMode.Code64 | CpuMode.User | CpuMode.Protected;

    /// <summary>Runs the next instruction translated, in a block of its own.</summary>
    internal void StepOnce() => _steps = Math.Max(_steps, 1);

    /// <summary>Runs the next instructions translated, each in a block of its own.</summary>
    internal void StepOneByOne(int instructions) => _steps = instructions;

    private bool _shadowed; // The next instruction is in the interrupt shadow.

    private int _steps; // Number of instructions to run one by one before blocks run again.

    /// <summary>Linear address of the next instruction.</summary>
    internal ulong LinearRip => Code64 ? State->Rip : (uint)(Segments[1].Base + State->Rip);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        Direct?.Dispose();
        _code.Dispose();
        _tlb.Dispose();
    }

    /// <summary>Runs translated code until its next exit; <paramref name="simd"/> loads the guest's SIMD state before.</summary>
    internal void Enter(byte* code, bool simd)
    {
        Exits++;
        _tlb.Enter();
        if (simd)
        {
            _code.Stubs.EnterSimd(code);
        }
        else
        {
            _code.Stubs.Enter(code);
        }

        if (State->X87Last != 0 || State->X87Operand != X87Pointers.NoOperand)
        {
            X87.TakePointers();
        }

        // Takes over the changes of inlined instructions: SWAPGS, WRFSBASE, WRGSBASE; SYSCALL and SYSRET; STAC and CLAC.
        Segments.TakeBases();
        if (State->FastCallLevel != 0)
        {
            FastCalls.FinishFastCall(this);
        }

        Mode.NoteFlags();
    }
}
