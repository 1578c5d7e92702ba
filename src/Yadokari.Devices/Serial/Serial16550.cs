using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Serial;

/// <summary>
/// A 16550A UART (National Semiconductor PC16550D data sheet, June 1995) at eight ports. Characters take no time: the transmitter is empty
/// whenever the console has room, and the receiver's time-out is over as soon as anything waits. The baud rate is kept and means nothing. A
/// peer that is always ready holds CTS, DSR and DCD, and sends while the guest holds RTS: before, a driver that is not yet open would clear
/// away what came. As on a PC, OUT2 gates the interrupt line. Both do not hold for drivers that know nothing of modem control (xv6, Pintos).
/// </summary>
public sealed class Serial16550 : ByteWideDevice, IDevice
{
    private const byte EnableReceived = 0x01;
    private const byte EnableTransmitterEmpty = 0x02;
    private const byte EnableLineStatus = 0x04;
    private const byte EnableModemStatus = 0x08;

    private const byte NoInterrupt = 0x01;
    private const byte IsModemStatus = 0x00;
    private const byte IsTransmitterEmpty = 0x02;
    private const byte IsReceived = 0x04;
    private const byte IsLineStatus = 0x06;
    private const byte IsTimeout = 0x0C;
    private const byte FifosOn = 0xC0;

    private const byte DivisorLatch = 0x80;

    private const byte DataTerminalReady = 0x01;
    private const byte RequestToSend = 0x02;
    private const byte Out2 = 0x08;
    private const byte Loopback = 0x10;

    private const byte DataReady = 0x01;
    private const byte Overrun = 0x02;
    private const byte Break = 0x10;
    private const byte TransmitterIdle = 0x60;
    private const byte FifoError = 0x80;

    private const byte ModemInputs = 0xB0;
    private const byte RingIndicator = 0x40;

    private readonly Lock _lock = new(); // Innermost: the line, the console and Drained are called after it is released.
    private readonly OutputPin _irq;
    private readonly IConsole _console;
    private readonly ReceiveFifo _received = new();
    private byte _interruptEnable;
    private byte _fifoControl;
    private byte _lineControl;
    private byte _modemControl;
    private byte _modemStatus;
    private byte _scratch;
    private ushort _divisor;
    private bool _overrun;
    private bool _transmitterEmptyPending;
    private bool _transmitterStalled; // The last character sent waits for room in the console.
    private bool _paused; // ResumeOutput during the pause is made up for by Resume.
    private bool _modemControlUsed; // DTR or RTS was raised since reset.
    private bool _ignoresModemControl;
    private bool _receiverStalled;

    /// <summary>Wires the UART.</summary>
    /// <param name="irq">Its interrupt line: high while an enabled interrupt is pending.</param>
    /// <param name="console">Where the guest's output goes.</param>
    public Serial16550(IInterruptLine irq, IConsole console)
        : base(8)
    {
        _irq = new OutputPin(irq);
        _console = console;
        Reset();
    }

    /// <summary>
    /// The guest made room in the receive FIFO, or raised RTS, after <see cref="Receive"/> could not place everything. On a vCPU's thread, no lock held;
    /// may call <see cref="Receive"/>.
    /// </summary>
    public event Action? Drained;

    /// <summary>
    /// Whether the guest's driver asked for received characters alone, and neither raised DTR nor RTS before: it gets input and interrupts all the same.
    /// Any thread.
    /// </summary>
    public bool IgnoresModemControl => Volatile.Read(ref _ignoresModemControl);

    private bool IsLoopedBack => (_modemControl & Loopback) != 0;

    private bool Receives => !IsLoopedBack && (_ignoresModemControl || (_modemControl & RequestToSend) != 0); // Looped back, the pin is not connected.

    private bool FifoEnabled => (_fifoControl & 1) != 0;

    private int ReceiveCapacity => FifoEnabled ? ReceiveFifo.Capacity : 1;

    private int TriggerLevel => !FifoEnabled ? 1 : (_fifoControl >> 6) switch { 0 => 1, 1 => 4, 2 => 8, _ => 14 };

    /// <summary>Puts bytes into the receive FIFO. Any thread.</summary>
    /// <returns>How many fitted; offer the rest again after <see cref="Drained"/>.</returns>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        int taken = 0;
        lock (_lock)
        {
            if (Receives)
            {
                taken = Math.Min(bytes.Length, ReceiveCapacity - _received.Count);
                for (int i = 0; i < taken; i++)
                {
                    _received.Push(bytes[i]);
                }
            }

            _receiverStalled |= taken < bytes.Length;
            UpdateIrq();
        }

        _irq.Publish();
        return taken;
    }

    /// <summary>A break condition on the line, Linux's SysRq key. Lost if the FIFO is full. Any thread.</summary>
    public void ReceiveBreak()
    {
        lock (_lock)
        {
            if (_received.Count < ReceiveCapacity && !IsLoopedBack)
            {
                _received.Push(0, Break);
                UpdateIrq();
            }
        }

        _irq.Publish();
    }

    /// <summary>The console has room again: the transmitter becomes empty. Any thread, no lock held.</summary>
    public void ResumeOutput()
    {
        lock (_lock)
        {
            if (_transmitterStalled && !_paused && _console.HasRoom)
            {
                _transmitterStalled = false;
                _transmitterEmptyPending = true;
                UpdateIrq();
            }
        }

        _irq.Publish();
    }

    /// <inheritdoc/>
    public string Name => "com1";

    /// <inheritdoc/>
    public void Pause()
    {
        lock (_lock)
        {
            _paused = true;
        }
    }

    /// <inheritdoc/>
    public void Resume()
    {
        lock (_lock)
        {
            _paused = false;
        }

        ResumeOutput();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>The state after the master reset pin (table II): the divisor and the scratch register keep what they had.</summary>
    public void Reset()
    {
        bool drained;
        lock (_lock)
        {
            _interruptEnable = 0;
            _fifoControl = 0;
            _lineControl = 0;
            _modemControl = 0;
            _modemStatus = ModemInputs;
            _overrun = false;
            _transmitterEmptyPending = false;
            _transmitterStalled = false;
            _modemControlUsed = false;
            _ignoresModemControl = false;
            _received.Clear();
            drained = TakeReceiverStalled();
            UpdateIrq();
        }

        Publish(drained);
    }

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset)
    {
        byte value;
        bool drained = false;
        lock (_lock)
        {
            switch (offset)
            {
                case 0 when (_lineControl & DivisorLatch) != 0:
                    return (byte)_divisor;
                case 1 when (_lineControl & DivisorLatch) != 0:
                    return (byte)(_divisor >> 8);
                case 0:
                    value = _received.Count > 0 ? _received.Pop() : (byte)0;
                    drained = _received.Count == 0 && TakeReceiverStalled();
                    break;
                case 1:
                    return _interruptEnable;
                case 2:
                    byte cause = Cause();
                    if (cause == IsTransmitterEmpty)
                    {
                        _transmitterEmptyPending = false; // Reading IIR clears it, if it is what IIR shows.
                    }

                    value = (byte)(cause | (FifoEnabled ? FifosOn : 0));
                    break;
                case 3:
                    return _lineControl;
                case 4:
                    return _modemControl;
                case 5:
                    value = LineStatus();
                    _overrun = false;
                    _received.ClearNextErrors();
                    break;
                case 6:
                    value = _modemStatus;
                    _modemStatus &= 0xF0;
                    break;
                default:
                    return _scratch;
            }

            UpdateIrq();
        }

        Publish(drained);
        return value;
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
        bool drained = false;
        bool output = false;
        lock (_lock)
        {
            switch (offset)
            {
                case 0 when (_lineControl & DivisorLatch) != 0:
                    _divisor = (ushort)((_divisor & 0xFF00) | value);
                    break;
                case 1 when (_lineControl & DivisorLatch) != 0:
                    _divisor = (ushort)((_divisor & 0x00FF) | (value << 8));
                    break;
                case 0:
                    output = !IsLoopedBack;
                    if (!output)
                    {
                        LoopBack(value);
                    }

                    break;
                case 1:
                    drained = WriteInterruptEnable((byte)(value & 0x0F));
                    break;
                case 2:
                    drained = WriteFifoControl(value);
                    break;
                case 3:
                    _lineControl = value;
                    break;
                case 4:
                    drained = WriteModemControl((byte)(value & 0x1F));
                    break;
                case 7:
                    _scratch = value;
                    break;
                default:
                    break; // Line and modem status: for factory tests only.
            }

            UpdateIrq();
        }

        if (output)
        {
            _console.Write(new ReadOnlySpan<byte>(in value));
            OnSent();
        }

        Publish(drained);
    }

    private void LoopBack(byte value)
    {
        _transmitterEmptyPending = true;
        if (_received.Count < ReceiveCapacity)
        {
            _received.Push(value);
        }
        else
        {
            _overrun = true;
        }
    }

    // The console has accepted the character. The transmitter is empty now, or, for flow control, once the console has room.
    private void OnSent()
    {
        lock (_lock)
        {
            _transmitterStalled = !_console.HasRoom; // Under the lock: ResumeOutput, which comes after there is room, finds it set.
            _transmitterEmptyPending = !_transmitterStalled;
            UpdateIrq();
        }
    }

    private bool WriteInterruptEnable(byte value)
    {
        // Enabling the interrupt while THR is empty raises it, each time: Linux tests for chips that fail to.
        if ((value & ~_interruptEnable & EnableTransmitterEmpty) != 0 && IsTransmitterIdle)
        {
            _transmitterEmptyPending = true;
        }

        _interruptEnable = value;
        if (value != EnableReceived || _modemControlUsed || _ignoresModemControl)
        {
            return false;
        }

        // Linux enables line status interrupts too; when it does so without RTS, its driver is not ready yet.
        _ignoresModemControl = true;
        _ = TakeReceiverStalled();
        return true; // Also with an empty FIFO: characters that arrive from now on are held until the driver is ready.
    }

    private bool WriteFifoControl(byte value)
    {
        const byte Enable = 0x01;
        const byte ClearReceived = 0x02;
        bool toggled = ((value ^ _fifoControl) & Enable) != 0;

        // The other bits are only taken along with the enable bit.
        _fifoControl = (value & Enable) != 0 ? (byte)(value & 0xC9) : (byte)0;
        if (!toggled && (value & (Enable | ClearReceived)) != (Enable | ClearReceived))
        {
            return false;
        }

        _received.Clear();
        return TakeReceiverStalled();
    }

    private bool WriteModemControl(byte value)
    {
        bool received = Receives;
        _modemControl = value;
        if ((value & (DataTerminalReady | RequestToSend)) != 0 && !IsLoopedBack)
        {
            _modemControlUsed = true;
            _ignoresModemControl = false;
        }

        // Looped back, DTR RTS OUT1 OUT2 come in as DSR CTS RI DCD.
        int inputs = (value & Loopback) == 0
            ? ModemInputs
            : ((value & 0x01) << 5) | ((value & 0x02) << 3) | ((value & 0x04) << 4) | ((value & 0x08) << 4);
        int changed = (inputs ^ _modemStatus) & 0xF0;
        if ((inputs & RingIndicator) != 0)
        {
            changed &= ~RingIndicator; // Only its trailing edge counts.
        }

        _modemStatus = (byte)(inputs | (_modemStatus & 0x0F) | (changed >> 4));
        return !received && Receives && TakeReceiverStalled();
    }

    private bool TakeReceiverStalled()
    {
        bool starving = _receiverStalled;
        _receiverStalled = false;
        return starving;
    }

    private bool IsTransmitterIdle => !_transmitterStalled || IsLoopedBack;

    private byte LineStatus() => (byte)((IsTransmitterIdle ? TransmitterIdle : 0)
        | (_received.Count > 0 ? DataReady : 0)
        | (_overrun ? Overrun : 0)
        | _received.NextErrors
        | (FifoEnabled && _received.HasErrors ? FifoError : 0));

    /// <summary>The pending interrupt of the highest priority (data sheet, table IV).</summary>
    private byte Cause()
    {
        if ((_interruptEnable & EnableLineStatus) != 0 && (_overrun || _received.NextErrors != 0))
        {
            return IsLineStatus;
        }

        if ((_interruptEnable & EnableReceived) != 0 && _received.Count > 0)
        {
            return _received.Count >= TriggerLevel ? IsReceived : IsTimeout;
        }

        if ((_interruptEnable & EnableTransmitterEmpty) != 0 && _transmitterEmptyPending)
        {
            return IsTransmitterEmpty;
        }

        return (_interruptEnable & EnableModemStatus) != 0 && (_modemStatus & 0x0F) != 0 ? IsModemStatus : NoInterrupt;
    }

    private void UpdateIrq() => _irq.Put(Cause() != NoInterrupt && !IsLoopedBack && (_ignoresModemControl || (_modemControl & Out2) != 0));

    private void Publish(bool drained)
    {
        _irq.Publish();
        if (drained)
        {
            Drained?.Invoke();
        }
    }
}
