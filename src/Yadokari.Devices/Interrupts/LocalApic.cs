using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Interrupts;

/// <summary>
/// One processor's local APIC (Intel SDM volume 3, chapter 11) in xAPIC and x2APIC mode. As a bus device it is its 4 KiB page of registers,
/// which each processor sees for itself: the machine routes an access to <see cref="BaseAddress"/> to the APIC of the vCPU it came from.
/// SMIs are ignored; EOI broadcast suppression is not supported (as the version register reports).
/// </summary>
public sealed partial class LocalApic : IBusDevice, IPassiveDevice
{
    private const int LvtTimer = 0;
    private const int LvtLint0 = 3;
    private const int LvtLint1 = 4;
    private const int LvtError = 5;
    private const int LvtCount = 6;

    private const uint LvtMasked = 1u << 16;
    private const uint LvtLevel = 1u << 15;
    private const uint LvtRemoteIrr = 1u << 14;

    private const uint SoftwareEnable = 1u << 8;

    private const ulong BootstrapProcessor = 1ul << 8;
    private const ulong X2ApicEnable = 1ul << 10;
    private const ulong GlobalEnable = 1ul << 11;
    private const ulong DefaultBase = 0xFEE0_0000;

    private const uint ErrorSendIllegalVector = 1u << 5;
    private const uint ErrorReceiveIllegalVector = 1u << 6;
    private const uint ErrorIllegalRegister = 1u << 7;

    // Guards everything below. Only the clock's lock is taken inside it: messages, EOIs, events and notify are deferred until it is released.
    private readonly Lock _lock = new();
    private readonly ApicBus _bus;
    private readonly Action _notify;
    private readonly VectorSet _requested = new();
    private readonly VectorSet _inService = new();
    private readonly VectorSet _levelTriggered = new();
    private readonly uint[] _lvt = new uint[LvtCount];
    private readonly bool[] _lint = new bool[2];
    private ulong _base;
    private uint _taskPriority;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spurious;
    private uint _error;
    private uint _errorPending;
    private uint _commandLow;
    private uint _commandHigh;

    private volatile bool _hasInterrupt;

    /// <summary>Puts a local APIC on the bus.</summary>
    /// <param name="id">The vCPU's number and APIC ID; 0 is the bootstrap processor.</param>
    /// <param name="bus">The bus of the machine.</param>
    /// <param name="clock">The timer's oscillator.</param>
    /// <param name="readTsc">The vCPU's time-stamp counter as the guest sees it. Any thread, under the APIC's lock.</param>
    /// <param name="tscHz">The frequency of that counter.</param>
    /// <param name="notify">Called when <see cref="HasInterrupt"/> has become true. Any thread, no lock held.</param>
    public LocalApic(int id, ApicBus bus, IClock clock, Func<ulong> readTsc, ulong tscHz, Action notify)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfZero(tscHz);
        Id = id;
        _bus = bus;
        _notify = notify;
        _clock = clock;
        _readTsc = readTsc;
        _nanosecondsPerTick = ((1_000_000_000ul << 32) / tscHz) + 1;
        Lint0 = new Pin(this, 0);
        Lint1 = new Pin(this, 1);
        _alarm = clock.CreateAlarm(OnAlarm);
        Reset();
        bus.Join(this);
    }

    /// <summary>The APIC ID.</summary>
    public int Id { get; }

    /// <summary>The processor's LINT0 pin: INT of the 8259 pair.</summary>
    public IInterruptLine Lint0 { get; }

    /// <summary>The processor's LINT1 pin: NMI.</summary>
    public IInterruptLine Lint1 { get; }

    /// <summary>The INTA cycle of the device at LINT0 (the 8259 pair): returns the vector, or -1 for none. Set when the machine is built; called with no lock held.</summary>
    public Func<int>? AcknowledgeExternal { get; set; }

    /// <summary>An NMI arrived. Any thread, no lock held.</summary>
    public event Action? Nmi;

    /// <summary>An INIT arrived; the APIC's own state is reset already. Any thread, no lock held.</summary>
    public event Action? Init;

    /// <summary>
    /// A start-up message arrived: start in real mode at the page, CS = page &lt;&lt; 8, if waiting for one. Any thread, no lock held.
    /// </summary>
    public event Action<byte>? StartUp;

    /// <summary>Whether an interrupt is pending that the processor can take (RFLAGS.IF aside). Any thread; a volatile read.</summary>
    public bool HasInterrupt => _hasInterrupt;

    /// <summary>CR8: bits 7 to 4 of the task priority register, 0 to 15 (Intel SDM volume 3, 11.8.6).</summary>
    public byte TaskPriority
    {
        get => (byte)(Volatile.Read(ref _taskPriority) >> 4);
        set
        {
            DeferredCalls deferred = default;
            lock (_lock)
            {
                _taskPriority = (uint)(value & 0xF) << 4;
                Update(ref deferred);
            }

            MakeDeferredCalls(deferred);
        }
    }

    /// <summary>Where the page of registers is: IA32_APIC_BASE.</summary>
    public ulong BaseAddress => Volatile.Read(ref _base) & 0x000F_FFFF_FFFF_F000;

    /// <summary>Whether the page of registers is mapped: enabled and not in x2APIC mode.</summary>
    public bool MmioEnabled => (Volatile.Read(ref _base) & (GlobalEnable | X2ApicEnable)) == GlobalEnable;

    /// <summary>Whether IA32_APIC_BASE.EN is set: what CPUID.1:EDX.APIC shows.</summary>
    public bool Enabled => (Volatile.Read(ref _base) & GlobalEnable) != 0;

    /// <summary>The processor priority for lowest-priority arbitration; null while the APIC accepts no fixed interrupts.</summary>
    internal int? ArbitrationPriority
    {
        get
        {
            lock (_lock)
            {
                return Enabled && (_spurious & SoftwareEnable) != 0 ? ProcessorPriority() : null;
            }
        }
    }

    private bool X2Apic => (_base & X2ApicEnable) != 0;

    /// <summary>
    /// INTA: moves the pending interrupt of the highest priority from IRR to ISR; those of the 8259 pair (ExtINT) come first.
    /// Returns its vector, or -1 if none is pending any more. The vCPU's thread.
    /// </summary>
    public int Acknowledge()
    {
        bool external;
        int vector;
        lock (_lock)
        {
            external = ExternalPending();
            vector = external ? -1 : TakeVector();
        }

        if (!external)
        {
            return vector;
        }

        if (AcknowledgeExternal is { } acknowledge && acknowledge() is >= 0 and int externalVector)
        {
            return externalVector;
        }

        lock (_lock)
        {
            return TakeVector();
        }
    }

    /// <summary>Whether a vector is pending (IRR). Any thread.</summary>
    internal bool IsPending(byte vector)
    {
        lock (_lock)
        {
            return _requested.Contains(vector);
        }
    }

    /// <summary>
    /// What firmware does before it starts an operating system on the bootstrap processor: software-enables the APIC and passes the 8259
    /// pair's interrupts and NMI through (virtual wire mode, MultiProcessor Specification 1.4, 3.6.2.2).
    /// </summary>
    public void EnterVirtualWireMode()
    {
        DeferredCalls deferred = default;
        lock (_lock)
        {
            _spurious = SoftwareEnable | 0xFF;
            _lvt[LvtLint0] = (uint)ApicDelivery.ExtInt << 8;
            _lvt[LvtLint1] = (uint)ApicDelivery.Nmi << 8;
            Update(ref deferred);
        }

        MakeDeferredCalls(deferred);
    }

    /// <inheritdoc/>
    public string Name => $"lapic{Id}";

    /// <summary>The state after power-on (Intel SDM volume 3, 11.4.7.1).</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _base = DefaultBase | GlobalEnable | (Id == 0 ? BootstrapProcessor : 0);
            ResetRegisters();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _alarm.Dispose();

    /// <summary>Whether a message's destination names this APIC (Intel SDM volume 3, 11.6.2 and 11.12.10).</summary>
    internal bool IsAddressedBy(in ApicMessage message)
    {
        uint destination = message.Wide ? message.Destination : message.Destination & 0xFF;
        if (destination == (message.Wide ? 0xFFFF_FFFF : 0xFFu))
        {
            return true;
        }

        // Read without the lock: a guest that changes them while messages are in flight gets either result, as on hardware.
        uint logical = Volatile.Read(ref _logicalDestination);
        if ((Volatile.Read(ref _base) & X2ApicEnable) != 0)
        {
            return message.Logical
                ? destination >> 16 == logical >> 16 && (destination & logical & 0xFFFF) != 0
                : destination == (uint)Id;
        }

        if (destination > 0xFF)
        {
            return false; // An xAPIC compares eight bits, except for an x2APIC's broadcast.
        }

        if (!message.Logical)
        {
            return destination == 0xFF || destination == ((uint)Id & 0xFF);
        }

        uint mine = logical >> 24;
        return Volatile.Read(ref _destinationFormat) >> 28 == 0xF
            ? (destination & mine) != 0
            : (destination >> 4 == mine >> 4 || destination >> 4 == 0xF) && (destination & mine & 0xF) != 0;
    }

    /// <summary>Delivers a message that is addressed to this APIC. Any thread, no lock held. Returns whether it was accepted.</summary>
    internal bool Deliver(in ApicMessage message)
    {
        DeferredCalls deferred = default;
        bool accepted = true;
        lock (_lock)
        {
            if (!Enabled)
            {
                return false;
            }

            switch (message.Delivery)
            {
                case ApicDelivery.Fixed or ApicDelivery.LowestPriority:
                    accepted = (_spurious & SoftwareEnable) != 0;
                    if (accepted)
                    {
                        Request(message.Vector, message.Level, ref deferred);
                    }

                    break;
                case ApicDelivery.Nmi:
                    deferred.Nmi = true;
                    break;
                case ApicDelivery.Init:
                    ResetRegisters();
                    deferred.Init = true;
                    break;
                case ApicDelivery.StartUp:
                    deferred.StartUp = true;
                    deferred.StartUpPage = message.Vector;
                    break;
                default:
                    accepted = false;
                    break;
            }

            Update(ref deferred);
        }

        MakeDeferredCalls(deferred);
        return accepted;
    }

    private void ResetRegisters()
    {
        _requested.Clear();
        _inService.Clear();
        _levelTriggered.Clear();
        Array.Fill(_lvt, LvtMasked);
        _taskPriority = 0;
        _logicalDestination = X2Apic ? X2LogicalId() : 0;
        _destinationFormat = 0xFFFF_FFFF;
        _spurious = 0xFF;
        _error = 0;
        _errorPending = 0;
        _commandLow = 0;
        _commandHigh = 0;
        ResetTimer();
        DeferredCalls ignored = default;
        Update(ref ignored);
    }

    private uint X2LogicalId() => ((uint)Id >> 4 << 16) | (1u << (Id & 0xF));

    private void SetLint(int pin, bool asserted)
    {
        DeferredCalls deferred = default;
        lock (_lock)
        {
            bool rising = asserted && !_lint[pin];
            _lint[pin] = asserted;
            ref uint entry = ref _lvt[LvtLint0 + pin];
            if (!Enabled)
            {
                // The pins are INTR and NMI of the processor then.
                deferred.Nmi = pin == 1 && rising;
            }
            else if (pin == 0 && Delivery(entry) == ApicDelivery.Fixed && (entry & LvtLevel) != 0)
            {
                RaiseLevelLint(ref entry, asserted, ref deferred);
            }
            else if (rising)
            {
                RaiseLocal(entry, ref deferred);
            }

            Update(ref deferred);
        }

        MakeDeferredCalls(deferred);
    }

    private void RaiseLevelLint(ref uint entry, bool asserted, ref DeferredCalls deferred)
    {
        if (asserted && (entry & (LvtMasked | LvtRemoteIrr)) == 0)
        {
            entry |= LvtRemoteIrr;
            Request((byte)entry, level: true, ref deferred);
        }
    }

    /// <summary>A local interrupt source fires through its vector table entry.</summary>
    private void RaiseLocal(uint entry, ref DeferredCalls deferred)
    {
        if ((entry & LvtMasked) != 0)
        {
            return;
        }

        switch (Delivery(entry))
        {
            case ApicDelivery.Fixed:
                Request((byte)entry, level: false, ref deferred);
                break;
            case ApicDelivery.Nmi:
                deferred.Nmi = true;
                break;
            default:
                break; // ExtINT is level-sensitive and polled; the other modes have no meaning here.
        }
    }

    private void Request(byte vector, bool level, ref DeferredCalls deferred)
    {
        if (vector < 16)
        {
            RaiseError(ErrorReceiveIllegalVector, ref deferred);
            return;
        }

        _requested.Add(vector);
        if (level)
        {
            _levelTriggered.Add(vector);
        }
        else
        {
            _levelTriggered.Remove(vector);
        }
    }

    private void RaiseError(uint error, ref DeferredCalls deferred)
    {
        bool known = (_errorPending & error) != 0;
        _errorPending |= error;
        if (!known)
        {
            RaiseLocal(_lvt[LvtError], ref deferred); // An illegal vector in the error entry recurs once: its error bit is set then.
        }
    }

    private void EndOfInterrupt(ref DeferredCalls deferred)
    {
        int vector = _inService.Highest;
        if (vector < 0)
        {
            return;
        }

        _inService.Remove(vector);
        if (!_levelTriggered.Contains(vector))
        {
            return;
        }

        deferred.EndOfInterrupt = true;
        deferred.EndedVector = (byte)vector;
        ref uint lint0 = ref _lvt[LvtLint0];
        if ((lint0 & LvtRemoteIrr) != 0 && (byte)lint0 == vector)
        {
            lint0 &= ~LvtRemoteIrr;
            RaiseLevelLint(ref lint0, _lint[0], ref deferred);
        }
    }

    /// <summary>The processor priority register (Intel SDM volume 3, 11.8.3.1).</summary>
    private int ProcessorPriority()
    {
        int serving = Math.Max(_inService.Highest, 0);
        return (int)_taskPriority >> 4 >= serving >> 4 ? (int)_taskPriority : serving & 0xF0;
    }

    private int DeliverableVector()
    {
        int vector = _requested.Highest;
        return vector >= 0 && vector >> 4 > ProcessorPriority() >> 4 ? vector : -1;
    }

    private int TakeVector()
    {
        int vector = DeliverableVector();
        if (vector >= 0)
        {
            _requested.Remove(vector);
            _inService.Add(vector);
        }

        DeferredCalls unused = default; // Acknowledging an interrupt makes no other one deliverable.
        Update(ref unused);
        return vector;
    }

    private bool ExternalPending() =>
        _lint[0] && (!Enabled || ((_lvt[LvtLint0] & LvtMasked) == 0 && Delivery(_lvt[LvtLint0]) == ApicDelivery.ExtInt));

    private void Update(ref DeferredCalls deferred)
    {
        bool has = ExternalPending() || (Enabled && DeliverableVector() >= 0);
        deferred.Notify |= has && !_hasInterrupt;
        _hasInterrupt = has;
    }

    private static ApicDelivery Delivery(uint entry) => (ApicDelivery)((entry >> 8) & 7);

    /// <summary>Calls that a change under the lock requires, to be made after the lock is released.</summary>
    private struct DeferredCalls
    {
        public bool Notify;
        public bool Nmi;
        public bool Init;
        public bool StartUp;
        public byte StartUpPage;
        public bool EndOfInterrupt;
        public byte EndedVector;
        public bool Send;
        public ApicShorthand Shorthand;
        public ApicMessage Message;
    }

    private void MakeDeferredCalls(in DeferredCalls deferred)
    {
        if (deferred.EndOfInterrupt)
        {
            _bus.EndOfInterrupt(deferred.EndedVector);
        }

        if (deferred.Send)
        {
            _bus.Send(deferred.Message, deferred.Shorthand, this);
        }

        if (deferred.Init)
        {
            Init?.Invoke();
        }

        if (deferred.StartUp)
        {
            StartUp?.Invoke(deferred.StartUpPage);
        }

        if (deferred.Nmi)
        {
            Nmi?.Invoke();
        }

        if (deferred.Notify)
        {
            _notify();
        }
    }

    private sealed class Pin(LocalApic apic, int number) : IInterruptLine
    {
        public void Set(bool asserted) => apic.SetLint(number, asserted);
    }
}
