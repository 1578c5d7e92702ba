using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Timers;

/// <summary>
/// The three counters of an Intel 8254 (data sheet 231164-005, September 1993), and port 0x61, system control port B of a PC/AT, which gates
/// the third and shows its output: how Linux measures the TSC. Counter 0 interrupts; 1 (memory refresh) and 2 (speaker) only count.
/// </summary>
public sealed class Pit8254 : IPassiveDevice
{
    /// <summary>The frequency all three counters count at.</summary>
    public const long Hz = 1_193_182;

    /// <summary>
    /// The minimum time between two interrupts, in nanoseconds: earlier ones are dropped, which bounds the load that a guest can put on the clock's thread.
    /// </summary>
    public const long ShortestPeriod = 50_000;

    /// <summary>
    /// The maximum number of missed ticks that are reinjected: enough for kernels that count a few to test the timer, too few to make the guest's
    /// clock race.
    /// </summary>
    public const int MaxReinjectedTicks = 16;

    private const byte GateBit = 0x01;
    private const byte WritableBits = 0x0F;
    private const byte RefreshBit = 0x10;
    private const byte OutputBit = 0x20;
    private const long RefreshNanoseconds = 15_085;

    private static readonly TickRate s_rate = new(Hz);

    private readonly Lock _lock = new(); // Only the clock's lock is taken inside it: the line is set after it is released.
    private readonly IClock _clock;
    private readonly IAlarm _alarm;
    private readonly ITickLine _line;
    private readonly OutputPin _irq;
    private readonly PitCounter[] _counters = [new(gateAtReset: true), new(gateAtReset: true), new(gateAtReset: false)];
    private byte _systemControl;
    private long _rise = long.MaxValue; // Time of the next rising edge of counter 0's OUT, in ticks.
    private long _lastRise;
    private long _ticksToReinject; // Missed ticks: periodic rising edges that are not injected yet.

    /// <summary>Creates the timer.</summary>
    /// <param name="clock">Its oscillator.</param>
    /// <param name="irq0">The line of counter 0's output. Called with no lock held.</param>
    public Pit8254(IClock clock, ITickLine irq0)
    {
        _clock = clock;
        _line = irq0;
        _irq = new OutputPin(irq0);
        _alarm = clock.CreateAlarm(Tick);
        Counters = new BytePorts(4, ReadCounter, WriteCounter);
        SystemControl = new BytePorts(1, _ => ReadSystemControl(), (_, value) => WriteSystemControl(value));
    }

    /// <summary>Ports 0x40 to 0x43.</summary>
    public IBusDevice Counters { get; }

    /// <summary>Port 0x61: gate and output of counter 2, speaker, refresh; no parity or channel check ever fails.</summary>
    public IBusDevice SystemControl { get; }

    private long Ticks => s_rate.TicksAt(_clock.Now);

    /// <inheritdoc/>
    public string Name => "pit";

    /// <summary>All counters stopped, as on power-on before firmware programs them.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            foreach (PitCounter counter in _counters)
            {
                counter.Reset();
            }

            _systemControl = 0;
            UpdateIrq();
        }

        _irq.Publish();
    }

    /// <summary>A processor acknowledged an interrupt: if it was this timer's, the next missed tick is reinjected. No lock held.</summary>
    public void CatchUp()
    {
        if (Volatile.Read(ref _ticksToReinject) > 0 || Ticks >= Volatile.Read(ref _rise))
        {
            Tick();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _alarm.Dispose();

    private byte ReadCounter(int port)
    {
        if (port == 3)
        {
            return 0xFF; // The control word can't be read.
        }

        lock (_lock)
        {
            return _counters[port].Read(Ticks);
        }
    }

    private void WriteCounter(int port, byte value)
    {
        lock (_lock)
        {
            if (port == 3)
            {
                WriteControl(value);
            }
            else
            {
                _counters[port].Write(value, Ticks);
            }

            UpdateIrq();
        }

        _irq.Publish();
    }

    private void WriteControl(byte value)
    {
        int select = value >> 6;
        if (select == 3)
        {
            for (int i = 0; i < _counters.Length; i++)
            {
                if ((value & (2 << i)) == 0)
                {
                    continue;
                }

                if ((value & 0x20) == 0)
                {
                    _counters[i].Latch(Ticks);
                }

                if ((value & 0x10) == 0)
                {
                    _counters[i].LatchStatus(Ticks);
                }
            }
        }
        else if ((value & 0x30) == 0)
        {
            _counters[select].Latch(Ticks);
        }
        else
        {
            _counters[select].Control(value);
        }
    }

    private byte ReadSystemControl()
    {
        lock (_lock)
        {
            long now = _clock.Now;
            bool refresh = (now / RefreshNanoseconds & 1) != 0;
            bool output = _counters[2].Output(s_rate.TicksAt(now));
            return (byte)(_systemControl | (refresh ? RefreshBit : 0) | (output ? OutputBit : 0));
        }
    }

    private void WriteSystemControl(byte value)
    {
        lock (_lock)
        {
            _systemControl = (byte)(value & WritableBits);
            _counters[2].SetGate((value & GateBit) != 0, Ticks);
        }
    }

    /// <summary>Counter 0 was programmed: sets the line to OUT, and arms the alarm for its next rising edge.</summary>
    private void UpdateIrq()
    {
        long now = Ticks;
        _ticksToReinject = 0;
        _irq.Put(_counters[0].Output(now));
        Arm(now);
    }

    private void Arm(long now)
    {
        _rise = _counters[0].NextRise(now);
        if (_rise == long.MaxValue)
        {
            _alarm.Cancel();
        }
        else
        {
            _alarm.Arm(Math.Max(s_rate.TimeOf(_rise), _lastRise + ShortestPeriod));
        }
    }

    // Called by the alarm, which may be late on a busy host, or after the processor acknowledged an interrupt.
    private void Tick()
    {
        bool unmasked = _line.IsUnmasked;
        bool pending = _line.IsPending;
        lock (_lock)
        {
            long now = Ticks;
            long period = _counters[0].Period;
            bool makeUp = unmasked && s_rate.TimeOf(period) >= ShortestPeriod;
            if (now >= _rise) // Else the counter was reprogrammed while the alarm was on its way: the alarm fires again.
            {
                _ticksToReinject = makeUp ? Math.Min(_ticksToReinject + 1 + ((now - _rise) / period), MaxReinjectedTicks) : 1;
                _lastRise = _clock.Now;
                Arm(now);
            }

            if (_ticksToReinject == 0 || (makeUp && pending))
            {
                return;
            }

            _ticksToReinject--;
            _irq.Put(false); // In modes 2 to 5 OUT was low for a pulse, or half a period, before.
            _irq.Put(true);
        }

        _irq.Publish();
    }
}
