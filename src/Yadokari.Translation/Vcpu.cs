using System.Diagnostics;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.Translation.Direct;
using Yadokari.Translation.Emulation;
using Yadokari.Translation.Memory;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Msrs;

namespace Yadokari.Translation;

/// <summary>A virtual processor of the translation engine: the loop around translated code.</summary>
internal sealed unsafe partial class Vcpu : IVcpu
{
    private readonly TranslationVm _vm;
    private readonly GuestMemory _memory;
    private readonly IVcpuHost _host;
    private readonly TranslatedCode _code;

    // Null in a machine of one vCPU.
    private readonly Coherence? _coherence;
    private readonly MemoryFile _file;
    private readonly byte* _window;
    private CpuMode _mode;
    private bool _modeStale = true;
    private ulong _modeFlags;
    private volatile bool _kicked;
    private HashSet<ulong> _breakpoints = [];

    /// <summary>MAXPHYADDR shown to the guest.</summary>
    internal int PhysicalAddressBits => Cpuid.PhysicalAddressBits;

    internal Vcpu(TranslationVm vm, int id)
    {
        _vm = vm;
        Id = id;
        _memory = vm.Memory;
        _host = vm.Host;
        _code = new TranslatedCode(_memory, vm.CodeCacheBytes, vm.InstructionSet, vm.Crowded);
        _coherence = vm.Coherence;
        Trace = vm.TraceWriter == null ? null : new Trace(vm.TraceWriter);
        _file = new MemoryFile("yadokari-vcpu", StateLayout.Tlb + (StateLayout.AddressSpaces * (long)StateLayout.TableBytes));
        _space = AddSpace();
        _window = _space.Window;
        MsrFile = new MsrFile(vm.Cpuid);
        _probeFetch = ProbeFetch;
        _code.PageBecomesCode = BecomesCode;
        _code.PageIsNoCode = gpa => _coherence?.IsNoCode(this, gpa);
        _code.BlocksDied += FlushJumps;
        Direct = vm.Direct == DirectMode.Off ? null : new DirectExecution(this, _memory, _code, vm.Direct);
        Reset();
        _coherence?.Join(this);
    }

    /// <summary>What it translated.</summary>
    internal TranslatedCode Translated => _code;

    /// <summary>PAUSE that the monitor saw: where vCPUs outnumber processors.</summary>
    internal long Pauses { get; set; }

    /// <summary>Whether an instruction that the monitor carries out in steps must look like one to other vCPUs.</summary>
    private bool IsAtomic(in Instruction instruction)
        => _coherence != null && (instruction.HasLockPrefix || (instruction.Mnemonic == Mnemonic.Xchg && instruction.OpCount == 2
            && (instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory)));

    /// <summary>Runs user code on the processor itself; null if that is not wanted.</summary>
    internal DirectExecution? Direct { get; }

    /// <inheritdoc/>
    public int Id { get; }

    internal IVcpuHost Host => _host;

    /// <summary>What CPUID answers.</summary>
    internal CpuidModel Cpuid => _vm.Cpuid;

    /// <summary>Registers without a meaning to the engine.</summary>
    internal MsrFile MsrFile { get; }

    /// <inheritdoc/>
    public ulong ReadTsc() => HostTsc.Read() + State->TscOffset;

    internal TranslationVm Vm => _vm;

    /// <inheritdoc/>
    public bool SingleStep
    {
        get;
        set
        {
            field = value;
            ModeChanged();
        }
    }

    internal Trace? Trace { get; }

    internal long Exits { get; private set; }

    /// <summary>Exits by <see cref="SiteKind"/>.</summary>
    internal long[] ExitsByKind { get; } = new long[Enum.GetValues<SiteKind>().Length];

    /// <summary>Entries into instructions that cross a page boundary.</summary>
    internal long Crossings { get; private set; }

    internal long Interrupts { get; private set; }

    internal long Exceptions { get; private set; }

    /// <inheritdoc/>
    public void Kick()
    {
        _kicked = true;
        Notify();
    }

    /// <inheritdoc/>
    public void Notify()
    {
        Interlocked.Exchange(ref State->Pending, 1);
        Direct?.Kick();
    }

    /// <inheritdoc/>
    public void RaiseNmi()
    {
        // Of two that arrive at once both are taken, one by the other's handler's end (as KVM has it); while one is handled one waits.
        lock (_nmiLock)
        {
            _nmis = Math.Min(_nmis + 1, NmiBlocked ? 1 : 2);
        }

        Notify();
    }

    /// <inheritdoc/>
    public bool HasNmi => Volatile.Read(ref _nmis) != 0 && !NmiBlocked;

    /// <summary>An NMI's handler runs: IRET ends that.</summary>
    internal bool NmiBlocked
    {
        get => _nmiBlocked;
        set => _nmiBlocked = value;
    }

    private readonly Lock _nmiLock = new(); // Innermost.
    private int _nmis;
    private volatile bool _nmiBlocked;

    /// <inheritdoc/>
    public void SetBreakpoints(IReadOnlyCollection<ulong> addresses)
    {
        _breakpoints = [.. addresses];
        ModeChanged();
    }

    /// <inheritdoc/>
    public VmExit Run()
    {
        ComeInside();
        try
        {
            return RunInside();
        }
        finally
        {
            GoOutside();
        }
    }

    private VmExit RunInside()
    {
        _entered = null;
        bool first = true;
        Block? block = null;
        while (true)
        {
            if (State->Pending != 0)
            {
                Interlocked.Exchange(ref State->Pending, 0);
                Answer();
                if (_kicked)
                {
                    _kicked = false;
                    return VmExit.Kicked;
                }
            }

            if (InterruptShadow)
            {
                // One instruction runs before the next look at interrupts.
                InterruptShadow = false;
                _shadowed = true;
            }
            else if (HasNmi)
            {
                lock (_nmiLock)
                {
                    _nmis--;
                    NmiBlocked = true;
                }

                Interrupts++;
                block = null;
                Trace?.Interrupt(this, (int)Vector.Nmi);
                if (Emulator.Deliver(this, (int)Vector.Nmi, null, software: false) == Outcome.Shutdown)
                {
                    return Ended();
                }
            }
            else if (_host.HasInterrupt(Id))
            {
                State->InterruptWaiting = 1;
                int vector = (State->SystemFlags & 0x200) != 0 ? _host.AcknowledgeInterrupt(Id) : -1;
                if (vector >= 0)
                {
                    Interrupts++;
                    block = null;
                    if (Cpl == 3)
                    {
                        Direct?.Interrupted(Exceptions + _vm.Emulated(Mnemonic.Syscall));
                    }

                    Trace?.Interrupt(this, vector);
                    if (Emulator.Deliver(this, vector, null, software: false) == Outcome.Shutdown)
                    {
                        return Ended();
                    }
                }
            }
            else
            {
                State->InterruptWaiting = 0;
            }

            CpuMode mode = CurrentMode();
            if (_shadowed || _steps > 0)
            {
                mode |= CpuMode.Single;
                _shadowed = false;
                _steps = Math.Max(0, _steps - 1);
            }

            if ((mode & CpuMode.Single) != 0 && !first && (SingleStep || (_breakpoints.Count != 0 && _breakpoints.Contains(LinearRip))))
            {
                return VmExit.Debug;
            }

            first = false;
            bool single = (mode & CpuMode.Single) != 0;
            if (single && HitsBreakpoint())
            {
                block = null;
                if (DeliverRaised() == Outcome.Shutdown)
                {
                    return Ended();
                }

                continue;
            }

            if ((mode & ~CpuMode.Down) == DirectUserMode && Direct != null)
            {
                if (Direct.Wants())
                {
                    block = null;
                    if (Direct.Run() == Outcome.Fault && DeliverRaised() == Outcome.Shutdown)
                    {
                        return Ended();
                    }

                    continue;
                }

                if (Direct.WantsBack())
                {
                    Volatile.Write(ref State->Pending, 1);
                }
            }

            if (block == null || !block.Valid || block.Mode != mode)
            {
                block = FindBlock(mode);
                if (block == null)
                {
                    if (DeliverRaised() == Outcome.Shutdown)
                    {
                        return Ended();
                    }

                    continue;
                }
            }

            Trace?.Enter(this, block);
            bool trap = (State->SystemFlags & FlagTrap) != 0;
            long deliveries = Deliveries;
            ulong dataHits = single && (Dr[7] & X86.DebugRegisters.Enables) != 0 ? FindDataHits() : 0;
            _emulated = Mnemonic.INVALID;
            Enter(block.Entry, simd: false);
            Outcome outcome = AfterExit(ref block);
            if ((single || _emulated is Mnemonic.Sysret or Mnemonic.Sysretq) && TrapsAfter(outcome, trap, dataHits, deliveries))
            {
                block = null;
                outcome = DeliverRaised();
            }

            switch (outcome)
            {
                case Outcome.Halt when HasNmi:
                    break;
                case Outcome.Halt:
                    if ((State->SystemFlags & 0x200) == 0)
                    {
                        return VmExit.HaltedForGood;
                    }

                    // Where one is there, the next round takes it.
                    if (!_host.HasInterrupt(Id))
                    {
                        return VmExit.Halted;
                    }

                    break;
                case Outcome.Shutdown:
                    return Ended();
            }
        }
    }

    private VmExit Ended()
    {
        bool caught = _caughtNow;
        _caughtNow = false;
        return caught ? VmExit.Exception : VmExit.Shutdown;
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

    private bool _shadowed;

    // Instructions to run one by one before blocks run again.
    private int _steps;

    /// <summary>Linear address of the next instruction.</summary>
    internal ulong LinearRip => Code64 ? State->Rip : (uint)(Segments[1].Base + State->Rip);

    /// <inheritdoc/>
    public void Dispose()
    {
        Direct?.Dispose();
        _code.Dispose();
        _file.Dispose();
    }

    private void Enter(byte* code, bool simd)
    {
        Exits++;
        EnterSpace();
        if (simd)
        {
            _code.Stubs.EnterSimd(code);
        }
        else
        {
            _code.Stubs.Enter(code);
        }

        // What inlined instructions changed: SWAPGS, WRFSBASE, WRGSBASE; SYSCALL and SYSRET; STAC and CLAC.
        if (Segments[4].Base != State->SegmentBase[4])
        {
            Segments[4] = Segments[4] with { Base = State->SegmentBase[4] };
        }

        if (Segments[5].Base != State->SegmentBase[5])
        {
            Segments[5] = Segments[5] with { Base = State->SegmentBase[5] };
        }

        if (State->FastCallLevel != 0)
        {
            Emulator.FinishFastCall(this);
        }

        _modeStale |= ((State->SystemFlags ^ _modeFlags) & (1ul << 18)) != 0;
    }

    /// <summary>Deals with whatever made translated code return. On return RIP is exact and <paramref name="block"/> what to run next, if known.</summary>
    private Outcome AfterExit(ref Block? block)
    {
        while (true)
        {
            if (State->FaultSignal != 0)
            {
                block = null;
                return HostFault();
            }

            var site = (Site*)_code.Cache.Writable((byte*)State->ExitSite);
            if (site->Kind == SiteKind.Bottom)
            {
                ExitsByKind[(int)SiteKind.Bottom]++;
                SetLinearRip(State->ExitValue);
                block = null;
                return Outcome.Jumped;
            }

            Block from = _code.ByNumber(site->Block)!;
            ulong page = (from.Mode & CpuMode.User) != 0 ? State->CodePage : from.LinearPage;
            ulong linear = page + (ulong)site->GuestOffset;
            block = null;
            ExitsByKind[(int)site->Kind]++;
            switch (site->Kind)
            {
                case SiteKind.Miss:
                    SetLinearRip(linear);
                    if (!Code64 && (uint)State->ExitValue + (ulong)site->Size > 1ul << 32)
                    {
                        // Whether that wraps around or exceeds the limit is for the segment to say.
                        return LimitedAccess(site->Size, site->Write != 0);
                    }

                    ulong cr2 = Cr2;
                    Reach reach = Translate(State->ExitValue, site->Write != 0, CurrentTlb, out byte* _, out ulong _);
                    if (reach == Reach.Ram && (State->ExitValue & 4095) + site->Size <= 4096 && from.Valid)
                    {
                        byte* resume = (byte*)State->ExitSite + site->Resume;
                        Enter(resume, from.UsesSimd);
                        continue;
                    }

                    if (site->Extra > 1)
                    {
                        // One check stood for several accesses: which of them is to blame shows when they run one by one.
                        if (reach == Reach.Fault)
                        {
                            ClearRaised();
                            Cr2 = cr2;
                        }

                        _steps = site->Extra;
                        _code.SharingFailed(from, site->Base);
                        return Outcome.Retry;
                    }

                    if (reach == Reach.Fault)
                    {
                        // Only vector instructions have masks, and only an address that is not canonical asks who used it.
                        return !from.UsesSimd && RaisedVector == (int)Vector.PageFault
                            ? DeliverRaised()
                            : MissFault(State->ExitValue, site->Size, site->Write != 0, cr2);
                    }

                    return from.Valid ? Bounce(State->ExitValue, site->Size, site->Write != 0) : Outcome.Retry;

                case SiteKind.Limit:
                    SetLinearRip(linear);
                    return LimitedAccess(site->Size, site->Write != 0);

                case SiteKind.Emulate:
                    SetLinearRip(linear);
                    return Emulate(_code.Translator.Emulated(site->Extra));

                case SiteKind.Link:
                    SetLinearRip(linear);
                    block = FindBlock(CurrentMode());
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    // The block may have gone with a cache that was full, or its page with the other block's translation.
                    if (Trace == null && from.Valid && _code.ByNumber(site->Block) == from && (block.Mode & CpuMode.Single) == 0)
                    {
                        _code.Link(site, block, LinearRip, _fetchGlobal);
                    }

                    return Outcome.Jumped;

                case SiteKind.Lookup:
                    if (from.Mode.HasFlag(CpuMode.Code64) && !IsCanonical(State->ExitValue))
                    {
                        return RefuseBranch(from, page);
                    }

                    SetLinearRip(State->ExitValue);
                    if ((from.Mode & CpuMode.Single) != 0)
                    {
                        return Outcome.Jumped;
                    }

                    block = FindBlock(CurrentMode());
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    if (Trace == null)
                    {
                        _space.FillJump(State->ExitValue, block, _fetchGlobal);
                        if (site->Resume != 0 && from.Valid && _code.ByNumber(site->Block) == from && (block.Mode & CpuMode.Single) == 0)
                        {
                            _code.LinkFar(site, block, (long)((State->ExitValue & ~0xFFFul) - page), State->FetchEpoch);
                        }
                    }

                    return Outcome.Jumped;

                case SiteKind.Recheck:
                    SetLinearRip(linear);
                    block = FindBlock(CurrentMode());
                    if (block == null)
                    {
                        return DeliverRaised();
                    }

                    if (block == from)
                    {
                        *(int*)((byte*)site + site->Resume) = FetchEpoch(from.SecondGlobal);
                    }

                    return Outcome.Jumped;

                default:
                    SetLinearRip(linear);
                    return Outcome.Jumped;
            }
        }
    }

    private Outcome Emulate(in Instruction instruction)
    {
        ulong rip = State->Rip;
        _emulated = instruction.Mnemonic;
        Trace?.Emulate(this, instruction);
        long start = _vm.Timed ? Stopwatch.GetTimestamp() : 0;
        Outcome outcome;
        using (IsAtomic(instruction) ? _coherence!.Alone(this) : default)
        {
            outcome = _vm.InstructionSet.Has(instruction) ? Emulator.Execute(this, instruction) : Raise(Vector.InvalidOpcode);
        }

        _vm.CountEmulated(instruction, start);
        switch (outcome)
        {
            case Outcome.Next:
            case Outcome.Halt:
                State->Rip = NextRip(rip, instruction.Length);
                return outcome;
            case Outcome.Fault:
                State->Rip = rip;
                return DeliverRaised();
            case Outcome.Again:
                State->Rip = rip;
                return outcome;
            default:
                return outcome;
        }
    }

    private ulong NextRip(ulong rip, int length) => Code64 ? rip + (ulong)length
        : (Segments[1].Attributes & 0x4000) != 0 ? (uint)rip + (uint)length : (ushort)((uint)rip + (uint)length);

    internal Outcome DeliverRaised()
    {
        int vector = RaisedVector;
        uint errorCode = RaisedErrorCode;
        ClearRaised();
        Exceptions++;
        Trace?.Exception(this, vector, errorCode);
        uint? pushed = X86.Vectors.HasErrorCode((Vector)vector) ? errorCode : null;
        if (Catches(vector, pushed, software: false))
        {
            return Outcome.Shutdown;
        }

        Outcome outcome = Emulator.Deliver(this, vector, pushed, software: false);
        return outcome == Outcome.Shutdown ? outcome : Outcome.Jumped;
    }

    /// <summary>One instruction whose memory operand is no plain RAM: its operand goes through a buffer.</summary>
    private Outcome Bounce(ulong linear, int size, bool store)
    {
        if (!Fetch(out Instruction instruction))
        {
            return DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) != Treatment.Native || Emulator.Handles(instruction.Code))
        {
            return Emulate(instruction);
        }

        Bounces++;
        using Coherence.Section alone = IsAtomic(instruction) ? _coherence!.Alone(this) : default;

        // An x87 store may leave memory as it is, its exception pending.
        bool read = _code.Translator.ReadsMemory(instruction)
            || instruction.Mnemonic is Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp;
        bool write = _code.Translator.WritesMemory(instruction);
        bool masked = Emulator.TryMask(this, instruction, out MaskedOperand mask);
        if (!masked && LongMode && !(IsCanonical(linear) && IsCanonical(linear + (ulong)size - 1)))
        {
            Raise(Vector.GeneralProtection);
            return DeliverAccessFault(instruction, store);
        }

        if (write && !(masked ? Emulator.ProbeMasked(this, linear, size, mask) : ProbeLinear(linear, size, write: true)))
        {
            return DeliverAccessFault(instruction, store);
        }

        byte* buffer = _window + StateLayout.Bounce + (linear & 63);
        var data = new Span<byte>(buffer, size);
        if (read && !masked && !ReadLinear(linear, data))
        {
            return DeliverRaised();
        }

        // What a store leaves out is not written back, so that only loads read.
        if (masked && !write && !Emulator.ReadMasked(this, linear, data, mask))
        {
            return DeliverAccessFault(instruction, store);
        }

        if (!TranslateFetch(LinearRip, out ulong gpa))
        {
            return DeliverRaised();
        }

        CpuMode mode = CurrentMode();
        ulong second = 0;
        if ((gpa & 4095) + (ulong)instruction.Length > 4096 && !TranslateFetch((LinearRip & ~0xFFFul) + 4096, out second))
        {
            return DeliverRaised();
        }

        Block? block = _code.FindBounce(gpa, LinearRip, mode);
        if (block == null || block.SecondGpa != second)
        {
            block = _code.Translate(gpa, second, LinearRip, mode, bounce: true)!;
        }

        if (block.Refused)
        {
            return Emulate(instruction);
        }

        State->BouncePointer = (ulong)buffer;
        State->CodePage = LinearRip & ~0xFFFul;
        ulong next = NextRip(State->Rip, instruction.Length);
        Enter(block.Entry, simd: false);
        if (State->FaultSignal != 0)
        {
            return HostFault();
        }

        if (write && !(masked ? Emulator.WriteMasked(this, linear, data, mask) : WriteLinear(linear, data)))
        {
            return DeliverAccessFault(instruction, store);
        }

        State->Rip = next;
        return Outcome.Jumped;
    }

    internal long Bounces { get; private set; }

    /// <summary>Decodes the instruction at RIP, or raises the fault its fetch meets.</summary>
    private bool Fetch(out Instruction instruction)
    {
        instruction = default;
        ulong linear = LinearRip;
        if (!TranslateFetch(linear, out ulong gpa))
        {
            return false;
        }

        Span<byte> bytes = stackalloc byte[16];
        int first = (int)Math.Min(16, 4096 - (linear & 4095));
        _memory.Read(gpa, bytes[..first]);
        instruction = _code.Translator.Decode(bytes[..first], CurrentMode(), linear);
        if (instruction.IsInvalid && first < 16)
        {
            if (!TranslateFetch(linear + (ulong)first, out ulong second))
            {
                return false;
            }

            _memory.Read(second, bytes[first..]);
            instruction = _code.Translator.Decode(bytes, CurrentMode(), linear);
        }

        return true;
    }

    /// <summary>The block at RIP, translated if need be. Null: an exception was raised.</summary>
    private Block? FindBlock(CpuMode mode)
    {
        ulong linear = LinearRip;
        State->CodePage = linear & ~0xFFFul;
        if ((mode & CpuMode.Code64) == 0 && State->Rip > LimitOf(Segments[1]))
        {
            Raise(Vector.GeneralProtection, 0);
            return null;
        }

        if (!TranslateFetch(linear, out ulong gpa))
        {
            return null;
        }

        Block? block = _code.Find(gpa, linear, mode);
        if (block != null && block.SecondGpa == 0)
        {
            return block;
        }

        if (_memory.HostAddress(gpa & ~0xFFFul, 4096) == 0)
        {
            // Code is fetched from RAM only.
            Raise(Vector.GeneralProtection, 0);
            return null;
        }

        if (block == null && _code.Translate(gpa, 0, linear, mode) is { } fresh)
        {
            return fresh;
        }

        Crossings++;

        // The instruction crosses into the next page: what stands there decides each time which block it is.
        bool global = _fetchGlobal;
        if (!TranslateFetch((linear & ~0xFFFul) + 4096, out ulong second))
        {
            return null;
        }

        _secondFetchGlobal = _fetchGlobal;
        _fetchGlobal = global;
        if (block != null && block.SecondGpa == second)
        {
            if (_secondFetchGlobal || !block.SecondGlobal)
            {
                return block;
            }

            // It relies on a global page, which this is not any more.
            _code.Drop(block);
        }

        if (_memory.HostAddress(second, 4096) == 0)
        {
            Raise(Vector.GeneralProtection, 0);
            return null;
        }

        return _code.Translate(gpa, second, linear, mode, FetchEpoch(_secondFetchGlobal), _secondFetchGlobal);
    }

    private void SetLinearRip(ulong linear) => State->Rip = Code64 ? linear : (uint)(linear - Segments[1].Base);

    // The processor raised an exception while it ran a guest's instruction: the guest's own.
    private Outcome HostFault()
    {
        int signal = (int)State->FaultSignal;
        State->FaultSignal = 0;
        byte* address = (byte*)State->FaultRip;
        Block? block = _code.ByHostAddress(address);
        if (block == null)
        {
            return Outcome.Shutdown;
        }

        ulong page = (block.Mode & CpuMode.User) != 0 ? State->CodePage : block.LinearPage;
        SetLinearRip(page + (ulong)_code.GuestOffset(block, address, out bool axSaved));
        if (axSaved)
        {
            State->FlagsAx = (ushort)Gpr(0);
            Gpr(0) = State->SaveRax;
        }

        Fetch(out Instruction instruction);
        ClearRaised();
        Code.Host borrowed = Translator.BorrowedBy(instruction);
        if (borrowed != Code.Host.None)
        {
            // Lent registers keep their numbers.
            Gpr((int)borrowed) = State->SaveRcx;
        }

        Trace?.HostFault(this, signal, address, instruction);
        if (signal == SignalAction.Sigfpe)
        {
            bool x87 = instruction.Mnemonic is Mnemonic.Wait || instruction.Code.CpuidFeatures().Any(f => f.ToString().Contains("FPU"));
            Raise(instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv ? Vector.DivideError : x87 ? Vector.X87 : Vector.Simd);
        }
        else
        {
            Raise(signal switch
            {
                SignalAction.Sigill => Vector.InvalidOpcode,
                SignalAction.Sigbus => Vector.AlignmentCheck,
                _ => Vector.GeneralProtection,
            });
        }

        return DeliverRaised();
    }

    private CpuMode CurrentMode()
    {
        if (!_modeStale)
        {
            return _mode;
        }

        _modeStale = false;
        _modeFlags = State->SystemFlags;
        CpuMode mode = CpuMode.None;
        ushort code = Segments[1].Attributes;
        ulong flags = State->SystemFlags;
        if (Code64)
        {
            mode |= CpuMode.Code64 | CpuMode.Protected;
        }
        else
        {
            mode |= (code & 0x4000) != 0 ? CpuMode.Code32 : 0;
            mode |= (Segments[2].Attributes & 0x4000) != 0 ? CpuMode.Stack32 : 0;
            mode |= ProtectedMode ? CpuMode.Protected : 0;
            if (Segments[0].Base != 0 || Segments[1].Base != 0 || Segments[2].Base != 0 || Segments[3].Base != 0)
            {
                mode |= CpuMode.Based;
            }

            mode |= FindSegmentEnds() || LimitOf(Segments[1]) != uint.MaxValue ? CpuMode.Limited : 0;
        }

        if (Cpl is 1 or 2)
        {
            // Nobody's levels: neither the kernel's nor the user's short cuts fit them.
            mode |= CpuMode.Single;
        }

        if (Cpl == 3)
        {
            mode |= CpuMode.User;
        }
        else if ((flags & (1ul << 18)) != 0 && (Cr4 & X86.Cr4.SMAP) != 0)
        {
            mode |= CpuMode.SupervisorAc;
        }

        if ((flags & (1ul << 10)) != 0)
        {
            mode |= CpuMode.Down;
        }

        bool breakpoints = (Dr[7] & X86.DebugRegisters.Enables) != 0 && HasBreakpoints;
        if ((flags & FlagTrap) != 0 || SingleStep || _breakpoints.Count != 0 || breakpoints)
        {
            mode |= CpuMode.Single;
        }
        else
        {
            // The next instruction would clear it; only breakpoints tell whether it was there.
            State->SystemFlags &= ~FlagResume;
        }

        if ((Cr0 & (X86.Cr0.TS | X86.Cr0.EM)) != 0)
        {
            mode |= CpuMode.SimdTrap;
        }

        if ((Cr4 & X86.Cr4.OSFXSR) == 0)
        {
            mode |= CpuMode.SseTrap;
        }

        if ((Cr4 & X86.Cr4.OSXSAVE) == 0 || (Xcr0 & 6) != 6)
        {
            mode |= CpuMode.AvxTrap | CpuMode.Avx512Trap;
        }
        else if ((Xcr0 & 0xE0) != 0xE0)
        {
            mode |= CpuMode.Avx512Trap;
        }

        const CpuMode Traps = CpuMode.SimdTrap | CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap;
        if (((mode ^ _mode) & Traps) != 0)
        {
            // The jump caches do not tell such modes apart.
            FlushJumps();
        }

        return _mode = mode;
    }
}
