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

/// <summary>A virtual processor of the translation engine: the loop around translated code.</summary>
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
    private volatile bool _disposed; // The memory of the state is given back.
    private HashSet<ulong> _breakpoints = [];

    /// <summary>MAXPHYADDR shown to the guest.</summary>
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

    /// <summary>What it translated.</summary>
    internal TranslatedCode Translated => _code;

    /// <summary>PAUSE that the monitor saw: where vCPUs outnumber processors.</summary>
    internal long Pauses { get; set; }

    /// <summary>While an instruction is carried out in steps that must look like one to other vCPUs, those stand still.</summary>
    internal Coherence.Section Atomically(in Instruction instruction) => IsAtomic(instruction) ? _coherence.StopTheWorld(this) : default;

    private bool IsAtomic(in Instruction instruction)
        => _vm.Vcpus > 1 && (instruction.HasLockPrefix || (instruction.Mnemonic == Mnemonic.Xchg && instruction.OpCount == 2
            && (instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory)));

    /// <summary>Runs user code on the processor itself; null if that is not wanted.</summary>
    internal DirectExecution? Direct { get; }

    /// <inheritdoc/>
    public int Id { get; }

    internal IX86VcpuHost Host => _host;

    /// <summary>What CPUID answers.</summary>
    internal CpuidModel Cpuid => _vm.Cpuid;

    /// <summary>Registers without a meaning to the engine.</summary>
    internal MsrFile MsrFile { get; }

    /// <inheritdoc/>
    public ulong ReadTsc() => _disposed ? 0 : _vm.Clock.Read(in State->TscOffset);

    /// <summary>Moves the counter, whatever the guest does to it at the same time. Any thread.</summary>
    internal void MoveTsc(ulong distance) => Interlocked.Add(ref State->TscOffset, distance);

    internal TranslationVm Vm => _vm;

    /// <inheritdoc/>
    public bool SingleStep
    {
        get;
        set
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            field = value;
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

    /// <summary>What the guest's own debugger asked for.</summary>
    internal DebugUnit Debugging { get; }

    /// <summary>For which mode its blocks are translated now.</summary>
    internal BlockMode Mode { get; }

    /// <summary>Which accesses must be aligned.</summary>
    internal AlignmentChecks Alignment { get; }

    /// <summary>Deals with accesses that its translated code can't make.</summary>
    internal AccessSlowPath Accesses { get; }

    /// <summary>What is at RIP.</summary>
    internal InstructionFetch Fetch { get; }

    /// <summary>A debugger steps it or has breakpoints in it.</summary>
    internal bool IsDebugged => SingleStep || _breakpoints.Count != 0;

    /// <summary>How its linear addresses are translated.</summary>
    internal Mmu Mmu { get; }

    /// <summary>What its emulated instructions access.</summary>
    internal LinearMemory Memory { get; }

    /// <summary>What waits to be delivered.</summary>
    internal PendingEvents Events { get; } = new();

    /// <inheritdoc/>
    public void SetBreakpoints(IReadOnlyCollection<ulong> addresses)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _breakpoints = [.. addresses];
        ModeChanged();
    }

    /// <inheritdoc/>
    public VmExit Run()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        IsRunning = true;
        ComeInside();
        try
        {
            return !_vm.Clock.IsStopped ? RunInside() : throw new InvalidOperationException($"vCPU {Id} can't run while the machine's clock is stopped: start the clock first.");
        }
        finally
        {
            // Outside any thread may look at the state, and only this one gets it from a process.
            FetchExtended();
            Requests.Leave();
            IsRunning = false;
        }
    }

    /// <summary>Its thread is in <see cref="Run"/>. Any thread.</summary>
    internal bool IsRunning { get => _running; private set => _running = value; }

    private volatile bool _running;

    private VmExit RunInside()
    {
        if (!Wakes(out VmExit asleep))
        {
            return asleep;
        }

        _tlb.ForgetThread();
        if (Events.TryTakeInjected(out PendingEvent injected) && !Delivers(injected))
        {
            return Ended();
        }

        bool first = true;
        Block? block = null;
        while (true)
        {
            if (State->Pending != 0 && IsKicked(ref block))
            {
                return VmExit.Kicked;
            }

            if (!TakesEvents(ref block))
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

            if ((mode & CpuMode.Single) != 0 && !first && (SingleStep || (_breakpoints.Count != 0 && _breakpoints.Contains(LinearRip))))
            {
                Events.InterruptShadow |= shadowed;
                _steps += stepping ? 1 : 0;
                return VmExit.Debug;
            }

            first = false;
            ulong resume = State->SystemFlags & Operands.FlagResume;
            switch (RunNext(mode, ref block))
            {
                case Outcome.Retry:
                    // It has not run: what was to run alone still is, and is not handed to the processor, which may have stopped at it.
                    _steps = stepping ? Math.Max(_steps, 1) : _steps;
                    Events.InterruptShadow |= shadowed;
                    State->SystemFlags |= resume;
                    break;
                case Outcome.Halt when Events.HasNmi:
                    break;
                case Outcome.Halt:
                    // Where an interrupt is there, the next round takes it.
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

    // Deals with what other threads asked for while it ran, or says that it was to come out.
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

    // Delivers an NMI or an interrupt that waits, unless the next instruction is to run before. False: it did not reach the guest.
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, the loop: so an exit for CPUID takes 76 ns, and 88 with calls.
    private bool TakesEvents(ref Block? block)
    {
        if (Events.InterruptShadow)
        {
            // One instruction runs before the next look at interrupts.
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

    // Runs what is at RIP: user code on the processor itself, or a block, which is the last one if that still fits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, the loop: so an exit for CPUID takes 76 ns, and 88 with calls.
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, the loop: so an exit for CPUID takes 76 ns, and 88 with calls.
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

    /// <summary>Whether it executes instructions when it runs next.</summary>
    internal ActivityState Activity { get; set; }

    private VmExit Halted => (State->SystemFlags & 0x200) == 0 ? VmExit.HaltedWithInterruptsDisabled : VmExit.Halted;

    // Whether it executes instructions, or begins to because of what waits for it or because a debugger steps it.
    private bool Wakes(out VmExit asleep)
    {
        asleep = VmExit.Kicked;
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
            asleep = Activity switch
            {
                ActivityState.Halted => Halted,
                ActivityState.Shutdown => VmExit.Shutdown,
                _ => VmExit.WaitsForStart,
            };
        }

        return awake;
    }

    // False: it did not reach the guest.
    private bool Delivers(in PendingEvent pending)
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

    /// <summary>Whether an exception ends the run rather than reach the guest.</summary>
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

    /// <summary>The next instruction runs under translation, alone.</summary>
    internal void StepOnce() => _steps = Math.Max(_steps, 1);

    /// <summary>So many instructions run under translation, each alone.</summary>
    internal void StepOneByOne(int instructions) => _steps = instructions;

    private bool _shadowed;

    // Instructions to run one by one before blocks run again.
    private int _steps;

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

        // What inlined instructions changed: SWAPGS, WRFSBASE, WRGSBASE; SYSCALL and SYSRET; STAC and CLAC.
        Segments.TakeBases();
        if (State->FastCallLevel != 0)
        {
            FastCalls.FinishFastCall(this);
        }

        Mode.NoteFlags();
    }
}
