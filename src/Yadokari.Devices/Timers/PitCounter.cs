namespace Yadokari.Devices.Timers;

/// <summary>
/// One counter of an 8254 (Intel data sheet 231164-005, September 1993). Nothing ticks: each access computes the counter's value from the time,
/// in clock pulses since the machine was created. Guarded by <see cref="Pit8254"/>.
/// </summary>
internal sealed class PitCounter
{
    private const long Never = long.MaxValue;

    private readonly bool _gateAtReset;
    private int _mode;
    private bool _bcd;
    private int _access = 3; // 1: low byte, 2: high byte, 3: low then high.
    private bool _gate;
    private long _reload;
    private long _next; // The reload value to use from the start of the next period: modes 2 and 3.
    private long _start = Never; // When the counting element holds the reload value; Never if it does not count.
    private long _pausedAt = Never;
    private bool _written; // A count was written since the control word.
    private int _writeLow = -1;
    private bool _readHigh;
    private int _latch = -1;
    private bool _latchHigh;
    private int _statusLatch = -1;

    public PitCounter(bool gateAtReset)
    {
        _gateAtReset = gateAtReset;
        Reset();
    }

    /// <summary>The gate input's level.</summary>
    public bool Gate => _gate;

    /// <summary>The period of OUT in clock pulses; 0 in modes that are not periodic.</summary>
    public long Period => _mode is 2 or 3 && _start != Never ? _reload : 0;

    private long Modulus => _bcd ? 10_000 : 0x10000;

    public void Reset()
    {
        _mode = 0;
        _bcd = false;
        _access = 3;
        _gate = _gateAtReset;
        _reload = _next = Modulus;
        Stop();
    }

    /// <summary>A control word that programs this counter.</summary>
    public void Control(byte value)
    {
        _access = (value >> 4) & 3;
        int mode = (value >> 1) & 7;
        _mode = mode > 5 ? mode - 4 : mode; // The highest bit is ignored for modes 2 and 3.
        _bcd = (value & 1) != 0;
        Stop();
    }

    public void Write(byte value, long now)
    {
        switch (_access)
        {
            case 1:
                Load(value, now);
                break;
            case 2:
                Load(value << 8, now);
                break;
            default:
                if (_writeLow < 0)
                {
                    _writeLow = value;
                    if (_mode == 0)
                    {
                        _start = Never; // Counting stops and OUT goes low with the first byte already.
                    }
                }
                else
                {
                    int count = _writeLow | (value << 8);
                    _writeLow = -1;
                    Load(count, now);
                }

                break;
        }
    }

    public byte Read(long now)
    {
        if (_statusLatch >= 0)
        {
            byte status = (byte)_statusLatch;
            _statusLatch = -1;
            return status;
        }

        if (_latch >= 0)
        {
            bool high = _access == 2 || _latchHigh;
            byte latched = (byte)(high ? _latch >> 8 : _latch);
            if (_access == 3 && !_latchHigh)
            {
                _latchHigh = true;
            }
            else
            {
                _latch = -1;
                _latchHigh = false;
            }

            return latched;
        }

        int count = Encoded(now);
        if (_access != 3)
        {
            return (byte)(_access == 2 ? count >> 8 : count);
        }

        _readHigh = !_readHigh;
        return (byte)(_readHigh ? count : count >> 8);
    }

    /// <summary>Counter latch command: further ones are ignored until the latched count is read.</summary>
    public void Latch(long now)
    {
        if (_latch < 0)
        {
            _latch = Encoded(now);
            _latchHigh = false;
        }
    }

    /// <summary>Read-back command for the status: further ones are ignored until it is read.</summary>
    public void LatchStatus(long now)
    {
        if (_statusLatch < 0)
        {
            bool nullCount = !_written || (_start != Never && now < _start) || _next != _reload;
            _statusLatch = (Output(now) ? 0x80 : 0) | (nullCount ? 0x40 : 0) | (_access << 4) | (_mode << 1) | (_bcd ? 1 : 0);
        }
    }

    public void SetGate(bool gate, long now)
    {
        bool rising = gate && !_gate;
        bool falling = !gate && _gate;
        _gate = gate;
        switch (_mode)
        {
            case 0 or 4 when falling && _start != Never:
                _pausedAt = now;
                break;
            case 0 or 4 when rising && _start != Never && _pausedAt != Never:
                _start += now - _pausedAt;
                _pausedAt = Never;
                break;
            case 1 or 5 when rising && _written:
                _start = now + 1; // A trigger.
                break;
            case 2 or 3 when falling:
                Settle(now);
                _start = Never;
                break;
            case 2 or 3 when rising && _written:
                _reload = _next;
                _start = now + 1;
                break;
            default:
                break;
        }
    }

    /// <summary>The level of OUT.</summary>
    public bool Output(long now)
    {
        if (_start == Never)
        {
            return _mode != 0;
        }

        Settle(now);
        long elapsed = Elapsed(now);
        return _mode switch
        {
            0 => elapsed >= _reload,
            1 => elapsed < 0 || elapsed >= _reload,
            2 => elapsed < 0 || elapsed % _reload != _reload - 1,
            3 => elapsed < 0 || elapsed % _reload < (_reload + 1) / 2,
            _ => elapsed != _reload,
        };
    }

    /// <summary>The next rising edge of OUT after a time, in clock pulses; <see cref="long.MaxValue"/> if there is none without the guest.</summary>
    public long NextRise(long after)
    {
        if (_start == Never || _pausedAt != Never)
        {
            return Never;
        }

        Settle(after);
        long rise = _mode switch
        {
            0 or 1 => _start + _reload,
            2 or 3 => _start + (((after < _start ? 0 : (after - _start) / _reload) + 1) * _reload),
            _ => _start + _reload + 1,
        };
        return rise > after ? rise : Never;
    }

    private void Stop()
    {
        _start = Never;
        _pausedAt = Never;
        _written = false;
        _writeLow = -1;
        _readHigh = false;
        _latch = -1;
        _latchHigh = false;
        _statusLatch = -1;
    }

    private void Load(int written, long now)
    {
        Settle(now);
        long count = _bcd ? FromBcd(written) : written;
        count = count == 0 ? Modulus : count;
        bool first = !_written;
        _written = true;
        _next = count;
        switch (_mode)
        {
            case 0 or 4:
                _reload = count;
                _start = now + 1; // The next clock pulse loads it.
                _pausedAt = _gate ? Never : now + 1;
                break;
            case 1 or 5:
                if (_start == Never || Elapsed(now) >= _reload)
                {
                    _reload = count; // The running count is unaffected until the next trigger.
                }

                break;
            default:
                if (first || _start == Never)
                {
                    _reload = count;
                    _start = _gate ? now + 1 : Never;
                }

                break;
        }
    }

    /// <summary>Modes 2 and 3: a count written during a period is loaded at its end.</summary>
    private void Settle(long now)
    {
        if (_mode is not (2 or 3) || _start == Never || now < _start)
        {
            return;
        }

        // Moves _start to the current period.
        long whole = (now - _start) / _reload;
        _start += whole * _reload;
        if (whole > 0 && _next != _reload)
        {
            // The count was written during the first of these periods: the others have the new length.
            _start -= (whole - 1) * _reload;
            _reload = _next;
            _start += (now - _start) / _reload * _reload;
        }
    }

    private long Elapsed(long now) => (_pausedAt != Never ? _pausedAt : now) - _start;

    private int Encoded(long now)
    {
        long value = Value(now) % Modulus;
        return _bcd ? ToBcd((int)value) : (int)value;
    }

    private long Value(long now)
    {
        if (_start == Never)
        {
            return _reload;
        }

        Settle(now);
        long elapsed = Elapsed(now);
        if (elapsed < 0)
        {
            return _reload;
        }

        return _mode switch
        {
            2 => _reload - (elapsed % _reload),
            3 => (_reload - (elapsed % _reload * 2 % _reload)) & ~1L,
            _ => (((_reload - elapsed) % Modulus) + Modulus) % Modulus,
        };
    }

    private static int FromBcd(int value) =>
        ((value >> 12) * 1000) + (((value >> 8) & 0xF) * 100) + (((value >> 4) & 0xF) * 10) + (value & 0xF);

    private static int ToBcd(int value) =>
        (value / 1000 << 12) | (value / 100 % 10 << 8) | (value / 10 % 10 << 4) | (value % 10);
}
