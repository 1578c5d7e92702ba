using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Power;

/// <summary>
/// The fixed hardware of ACPI (ACPI 6.5, 4.8) as one block of ports, always in ACPI mode (the FADT names no SMI command port): PM1a event and
/// control blocks, power management timer, and a general purpose event block of 32 events.
/// </summary>
public sealed class AcpiPowerManagement : IBusDevice, IDevice
{
    /// <summary>Offset of PM1a_EVT_BLK: status, then enable.</summary>
    public const int Pm1EventOffset = 0x00;

    /// <summary>Bytes of PM1a_EVT_BLK.</summary>
    public const int Pm1EventLength = 4;

    /// <summary>Offset of PM1a_CNT_BLK.</summary>
    public const int Pm1ControlOffset = 0x04;

    /// <summary>Bytes of PM1a_CNT_BLK.</summary>
    public const int Pm1ControlLength = 2;

    /// <summary>Offset of PM_TMR_BLK.</summary>
    public const int TimerOffset = 0x08;

    /// <summary>Bytes of PM_TMR_BLK.</summary>
    public const int TimerLength = 4;

    /// <summary>Offset of GPE0_BLK: status, then enable.</summary>
    public const int Gpe0Offset = 0x20;

    /// <summary>Bytes of GPE0_BLK.</summary>
    public const int Gpe0Length = 8;

    /// <summary>Bytes of the whole block.</summary>
    public const int BlockLength = 0x28;

    /// <summary>The frequency of the power management timer.</summary>
    public const long TimerHz = 3_579_545;

    /// <summary>SLP_TYP of S5, soft off: what the DSDT's _S5 has to name.</summary>
    public const byte SoftOff = 5;

    private const ushort TimerEvent = 1 << 0;
    private const ushort PowerButtonEvent = 1 << 8;
    private const ushort StatusBits = 0xC731; // TMR, BM, GBL, PWRBTN, SLPBTN, RTC, PCIEXP_WAKE, WAK (4.8.3.1.1).
    private const ushort EnableBits = 0x4721;
    private const ushort SciEnabled = 1 << 0;
    private const ushort ControlBits = 0x1C02; // SLP_TYP and BM_RLD are kept.
    private const ushort SleepEnable = 1 << 13;

    private static readonly TickRate s_timerRate = new(TimerHz);

    private readonly Lock _lock = new(); // Only the clock's lock is taken inside it: the line and powerOff are called after it is released.
    private readonly IClock _clock;
    private readonly IAlarm _alarm;
    private readonly OutputPin _sci;
    private readonly Action _powerOff;
    private readonly int _timerBits;
    private ushort _status;
    private ushort _enable;
    private ushort _control;
    private uint _eventStatus;
    private uint _eventEnable;
    private long _timerHalfPeriods;
    private bool _paused;
    private bool _pressedWhilePaused;

    /// <summary>Wires the block.</summary>
    /// <param name="clock">The timer's oscillator.</param>
    /// <param name="sci">The system control interrupt: level, active high.</param>
    /// <param name="powerOff">Called when the guest enters S5. On a vCPU's thread, no lock held.</param>
    /// <param name="wideTimer">Whether the timer has 32 bits (TMR_VAL_EXT in the FADT) rather than 24.</param>
    public AcpiPowerManagement(IClock clock, IInterruptLine sci, Action powerOff, bool wideTimer = true)
    {
        _clock = clock;
        _sci = new OutputPin(sci);
        _powerOff = powerOff;
        _timerBits = wideTimer ? 32 : 24;
        _alarm = clock.CreateAlarm(OnAlarm);
        Reset();
    }

    private long Ticks => s_timerRate.TicksAt(_clock.Now);

    /// <inheritdoc/>
    public string Name => "acpi";

    /// <summary>Presses and releases the power button. Any thread.</summary>
    public void PressPowerButton()
    {
        lock (_lock)
        {
            if (_paused)
            {
                _pressedWhilePaused = true;
                return;
            }

            _status |= PowerButtonEvent;
            Update();
        }

        _sci.Publish();
    }

    /// <inheritdoc/>
    public void Pause()
    {
        lock (_lock)
        {
            _paused = true;
        }
    }

    /// <summary>Resumes. A press of the power button during the pause takes effect now.</summary>
    public void Resume()
    {
        bool pressed;
        lock (_lock)
        {
            _paused = false;
            (pressed, _pressedWhilePaused) = (_pressedWhilePaused, false);
        }

        if (pressed)
        {
            PressPowerButton();
        }
    }

    /// <summary>Raises a general purpose event, 0 to 31. Any thread.</summary>
    public void RaiseEvent(int gpe)
    {
        lock (_lock)
        {
            _eventStatus |= 1u << gpe;
            Update();
        }

        _sci.Publish();
    }

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _status = 0;
            _enable = 0;
            _control = SciEnabled;
            _eventStatus = 0;
            _eventEnable = 0;
            _timerHalfPeriods = Ticks >> (_timerBits - 1);
            Update();
        }

        _sci.Publish();
    }

    /// <inheritdoc/>
    public void Dispose() => _alarm.Dispose();

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        Span<byte> block = stackalloc byte[BlockLength];
        block.Clear();
        lock (_lock)
        {
            CatchTimerEvent();
            BinaryPrimitives.WriteUInt16LittleEndian(block[Pm1EventOffset..], _status);
            BinaryPrimitives.WriteUInt16LittleEndian(block[(Pm1EventOffset + 2)..], _enable);
            BinaryPrimitives.WriteUInt16LittleEndian(block[Pm1ControlOffset..], _control);
            BinaryPrimitives.WriteUInt32LittleEndian(block[TimerOffset..], (uint)(Ticks & ((1L << _timerBits) - 1)));
            BinaryPrimitives.WriteUInt32LittleEndian(block[Gpe0Offset..], _eventStatus);
            BinaryPrimitives.WriteUInt32LittleEndian(block[(Gpe0Offset + 4)..], _eventEnable);
        }

        if (offset < BlockLength)
        {
            block = block[(int)offset..];
            block[..Math.Min(block.Length, data.Length)].CopyTo(data);
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool sleep = false;
        lock (_lock)
        {
            CatchTimerEvent();
            for (int i = 0; i < data.Length && offset < BlockLength; i++, offset++)
            {
                sleep |= WriteByte((int)offset, data[i]);
            }

            Update();
        }

        _sci.Publish();
        if (sleep)
        {
            _powerOff();
        }
    }

    /// <summary>Returns whether the guest powers off.</summary>
    private bool WriteByte(int offset, byte value)
    {
        int shift = (offset & (offset < Gpe0Offset ? 1 : 3)) * 8;
        uint bits = (uint)value << shift;
        uint kept = ~(0xFFu << shift);
        switch (offset)
        {
            case >= Pm1EventOffset and < Pm1EventOffset + 2:
                _status &= (ushort)~bits; // Writing ones clears.
                break;
            case >= Pm1EventOffset + 2 and < Pm1EventOffset + 4:
                _enable = (ushort)(((_enable & kept) | bits) & EnableBits);
                break;
            case >= Pm1ControlOffset and < Pm1ControlOffset + 2:
                _control = (ushort)((((_control & kept) | bits) & ControlBits) | SciEnabled);
                return (bits & SleepEnable) != 0 && ((_control >> 10) & 7) == SoftOff;
            case >= Gpe0Offset and < Gpe0Offset + 4:
                _eventStatus &= ~bits;
                break;
            case >= Gpe0Offset + 4 and < Gpe0Offset + 8:
                _eventEnable = (_eventEnable & kept) | bits;
                break;
            default:
                break;
        }

        return false;
    }

    /// <summary>TMR_STS: set whenever the timer's highest bit changes (4.8.3.3).</summary>
    private void CatchTimerEvent()
    {
        long halves = Ticks >> (_timerBits - 1);
        if (halves != _timerHalfPeriods)
        {
            _timerHalfPeriods = halves;
            _status |= TimerEvent;
        }
    }

    private void Update()
    {
        _status &= StatusBits;
        _sci.Put((_status & _enable) != 0 || (_eventStatus & _eventEnable) != 0);

        // The alarm is armed only if the guest enabled the timer's interrupt.
        if ((_enable & TimerEvent) != 0 && (_status & TimerEvent) == 0)
        {
            _alarm.Arm(s_timerRate.TimeOf((_timerHalfPeriods + 1) << (_timerBits - 1)));
        }
        else
        {
            _alarm.Cancel();
        }
    }

    private void OnAlarm()
    {
        lock (_lock)
        {
            CatchTimerEvent();
            Update();
        }

        _sci.Publish();
    }
}
