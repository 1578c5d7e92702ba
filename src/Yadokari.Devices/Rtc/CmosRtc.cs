using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Rtc;

/// <summary>
/// The Motorola MC146818A clock (data sheet ADI1024, 1984) and its 128 battery-backed bytes, at ports 0x70 and 0x71 (two registers), with the
/// century at 0x32. The time is the clock's UTC plus what the guest set. Flags are computed on access; the alarm is armed only for
/// interrupts that the guest enabled.
/// </summary>
public sealed class CmosRtc : ByteWideDevice, IPassiveDevice
{
    private const int RegisterA = 0x0A;
    private const int RegisterB = 0x0B;
    private const int RegisterC = 0x0C;
    private const int RegisterD = 0x0D;
    private const int Century = 0x32;

    private const byte UpdateInProgress = 0x80;
    private const byte DividerRunning = 0x20;
    private const byte DividerBits = 0x70;
    private const byte DividerReset = 0x60; // Both of these bits hold the divider in reset.

    private const byte Set = 0x80;
    private const byte PeriodicFlag = 0x40;
    private const byte AlarmFlag = 0x20;
    private const byte UpdateFlag = 0x10;
    private const byte AllFlags = PeriodicFlag | AlarmFlag | UpdateFlag;
    private const byte InterruptFlag = 0x80;
    private const byte Binary = 0x04;
    private const byte TwentyFourHours = 0x02;

    private const byte ValidRamAndTime = 0x80;

    /// <summary>UIP is set so long before an update (data sheet, table 6): 244 microseconds.</summary>
    private const long UpdateTicks = 244 * TimeSpan.TicksPerMicrosecond;

    private static readonly TickRate s_divider = new(32_768);

    private readonly Lock _lock = new(); // Only the clock's lock is taken inside it: the line is set after it is released.
    private readonly IClock _clock;
    private readonly IAlarm _alarm;
    private readonly OutputPin _irq;
    private readonly byte[] _bytes = new byte[128]; // Clock fields hold what was written, for alarms and while stopped.
    private int _index;
    private byte _flags;
    private long _offset; // Ticks of DateTime to add to the clock's UTC.
    private long _stoppedAt; // The time shown while stopped, in ticks.
    private long _lastSecond;
    private long _lastPeriod;

    /// <summary>Wires the clock.</summary>
    /// <param name="clock">Its oscillator and its battery.</param>
    /// <param name="irq">IRQ 8: high while an enabled interrupt is pending. Called with no lock held.</param>
    public CmosRtc(IClock clock, IInterruptLine irq)
        : base(2)
    {
        _clock = clock;
        _irq = new OutputPin(irq);
        _alarm = clock.CreateAlarm(OnAlarm);
        _bytes[RegisterA] = DividerRunning | 6; // 32.768 kHz crystal, 1024 Hz: what firmware sets.
        _bytes[RegisterB] = TwentyFourHours;
        DiscardEvents();
    }

    private RtcEncoding Encoding => new((_bytes[RegisterB] & Binary) != 0, (_bytes[RegisterB] & TwentyFourHours) != 0);

    private bool DividerHeld => (_bytes[RegisterA] & DividerReset) == DividerReset;

    private bool Stopped => (_bytes[RegisterB] & Set) != 0 || DividerHeld;

    /// <summary>The time shown, in ticks of <see cref="DateTime"/>.</summary>
    private long Time => Stopped ? _stoppedAt : Math.Clamp(_clock.UtcNow.Ticks + _offset, 0, DateTime.MaxValue.Ticks);

    /// <summary>The periodic rate: how many of 32768 steps a second a period has; 0 for none (data sheet, table 5).</summary>
    private int PeriodSteps
    {
        get
        {
            int rate = _bytes[RegisterA] & 0xF;
            return rate == 0 || DividerHeld ? 0 : rate <= 2 ? 1 << (rate + 6) : 1 << (rate - 1);
        }
    }

    /// <summary>A byte of battery-backed memory, from 0x0E to 0x7F (0x32, the century, is the clock's). Any thread.</summary>
    public byte this[int index]
    {
        get
        {
            CheckMemoryIndex(index);
            lock (_lock)
            {
                return _bytes[index];
            }
        }

        set
        {
            CheckMemoryIndex(index);
            lock (_lock)
            {
                _bytes[index] = value;
            }
        }
    }

    /// <inheritdoc/>
    public string Name => "rtc";

    /// <summary>What the RESET pin does: interrupts off and flags cleared; time, memory and rates stay.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _bytes[RegisterB] &= 0x87;
            _flags = 0;
            _index = 0;
            DiscardEvents();
            Update();
        }

        _irq.Publish();
    }

    /// <inheritdoc/>
    public void Dispose() => _alarm.Dispose();

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset)
    {
        if (offset == 0)
        {
            return 0xFF; // The index can't be read back.
        }

        byte value;
        lock (_lock)
        {
            switch (_index)
            {
                case RegisterA:
                    bool updating = !Stopped && TimeSpan.TicksPerSecond - (Time % TimeSpan.TicksPerSecond) <= UpdateTicks;
                    return (byte)(_bytes[RegisterA] | (updating ? UpdateInProgress : 0));
                case RegisterC:
                    UpdateFlags();
                    value = (byte)(_flags | ((_flags & _bytes[RegisterB]) != 0 ? InterruptFlag : 0));
                    _flags = 0;
                    Update();
                    break;
                case RegisterD:
                    return ValidRamAndTime;
                case 0 or 2 or 4 or >= 6 and <= 9 or Century:
                    return Stopped ? _bytes[_index] : Encoding.Field(new DateTime(Time), _index);
                default:
                    return _bytes[_index];
            }
        }

        _irq.Publish();
        return value;
    }

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
        lock (_lock)
        {
            if (offset == 0)
            {
                _index = value & 0x7F; // Bit 7 would mask NMI, of which this machine's chipset has none.
                return;
            }

            UpdateFlags();
            switch (_index)
            {
                case RegisterC or RegisterD:
                    break;
                case RegisterA:
                    WriteControl(RegisterA, (byte)(value & ~UpdateInProgress));
                    break;
                case RegisterB:
                    WriteControl(RegisterB, (value & Set) != 0 ? (byte)(value & ~UpdateFlag) : value); // SET clears UIE.
                    break;
                case 0 or 2 or 4 or >= 6 and <= 9 or Century when !Stopped:
                    ShowTime();
                    _bytes[_index] = value;
                    _offset = Encoding.Decode(_bytes).Ticks + (Time % TimeSpan.TicksPerSecond) - _clock.UtcNow.Ticks;
                    DiscardEvents();
                    break;
                default:
                    _bytes[_index] = value;
                    break;
            }

            Update();
        }

        _irq.Publish();
    }

    private static void CheckMemoryIndex(int index)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(index, RegisterD + 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, 0x7F);
        ArgumentOutOfRangeException.ThrowIfEqual(index, Century);
    }

    /// <summary>Writes register A or B, which stop the clock, start it, or change how the fields are written.</summary>
    private void WriteControl(int register, byte value)
    {
        bool wasStopped = Stopped;
        bool wasHeld = DividerHeld;
        if (!wasStopped)
        {
            _stoppedAt = Time - (Time % TimeSpan.TicksPerSecond);
            ShowTime();
        }

        _bytes[register] = value;
        if (wasStopped && !Stopped)
        {
            // Released from reset, the divider makes the first update half a second later.
            long fraction = wasHeld ? TimeSpan.TicksPerSecond / 2 : 0;
            _offset = Encoding.Decode(_bytes).Ticks + fraction - _clock.UtcNow.Ticks;
        }

        if (wasStopped != Stopped || wasHeld != DividerHeld)
        {
            DiscardEvents();
        }
    }

    private void ShowTime()
    {
        var time = new DateTime(Time);
        foreach (int field in RtcEncoding.Fields)
        {
            _bytes[field] = Encoding.Field(time, field);
        }
    }

    /// <summary>Discards events up to now, after the time or the rate was set.</summary>
    private void DiscardEvents()
    {
        _lastSecond = Time / TimeSpan.TicksPerSecond;
        _lastPeriod = Periods();
    }

    private long Periods() => PeriodSteps == 0 ? 0 : s_divider.TicksAt(_clock.Now) / PeriodSteps;

    /// <summary>Sets the flags of events since the last update.</summary>
    private void UpdateFlags()
    {
        long seconds = Time / TimeSpan.TicksPerSecond;
        if (seconds > _lastSecond)
        {
            _flags |= UpdateFlag;
            if (NextAlarm() <= seconds)
            {
                _flags |= AlarmFlag;
            }
        }

        long periods = Periods();
        if (periods != _lastPeriod && PeriodSteps != 0)
        {
            _flags |= PeriodicFlag;
        }

        _lastSecond = seconds;
        _lastPeriod = periods;
    }

    /// <summary>The first second after the last one seen at which the alarm goes off.</summary>
    private long NextAlarm()
    {
        long day = (_lastSecond + 1) / 86_400;
        int secondOfDay = (int)((_lastSecond + 1) % 86_400);
        int match = Encoding.NextAlarm(_bytes, secondOfDay);
        if (match < 0)
        {
            day++;
            match = Encoding.NextAlarm(_bytes, 0);
        }

        return match < 0 ? long.MaxValue : (day * 86_400) + match;
    }

    /// <summary>Sets the line, and the alarm for the next event that will interrupt.</summary>
    private void Update()
    {
        int enabled = _bytes[RegisterB] & AllFlags;
        _irq.Put((_flags & enabled) != 0);

        int awaited = enabled & ~_flags;
        long wake = long.MaxValue;
        if ((awaited & PeriodicFlag) != 0 && PeriodSteps != 0)
        {
            wake = s_divider.TimeOf((_lastPeriod + 1) * PeriodSteps);
        }

        if ((awaited & (UpdateFlag | AlarmFlag)) != 0 && !Stopped)
        {
            long second = (awaited & UpdateFlag) != 0 ? _lastSecond + 1 : NextAlarm();
            if (second != long.MaxValue)
            {
                long wait = (second * TimeSpan.TicksPerSecond) - Time;
                wake = Math.Min(wake, _clock.Now + (Math.Max(wait, 1) * TimeSpan.NanosecondsPerTick));
            }
        }

        if (wake == long.MaxValue)
        {
            _alarm.Cancel();
        }
        else
        {
            _alarm.Arm(wake);
        }
    }

    private void OnAlarm()
    {
        lock (_lock)
        {
            UpdateFlags();
            Update();
        }

        _irq.Publish();
    }
}
