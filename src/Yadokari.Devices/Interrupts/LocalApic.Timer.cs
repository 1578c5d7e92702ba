using Yadokari.Core.Time;

namespace Yadokari.Devices.Interrupts;

/// <content>The timer (Intel SDM volume 3, 11.5.4): one-shot, periodic, TSC deadline. The alarm is armed only for interrupts to come.</content>
public sealed partial class LocalApic
{
    /// <summary>The timer's input frequency, before its divider: a count is a nanosecond.</summary>
    public const long TimerHz = 1_000_000_000;

    /// <summary>
    /// The minimum period of the periodic timer, in nanoseconds: bounds the load that a guest can put on the clock's thread.
    /// </summary>
    public const long MinPeriod = 50_000;

    private const long Never = long.MaxValue;

    private enum TimerMode
    {
        OneShot = 0,
        Periodic = 1,
        Deadline = 2,
        Reserved = 3,
    }

    private readonly IClock _clock;
    private readonly IAlarm _alarm;
    private readonly Func<ulong> _readTsc;
    private readonly ulong _nanosecondsPerTick; // With 32 fractional bits.
    private uint _initialCount;
    private uint _divideConfiguration;
    private long _countStart;
    private long _expiry = Never; // In the clock's time; in deadline mode an estimate, _deadline decides.
    private ulong _deadline;

    private TimerMode Mode => (TimerMode)((_lvt[LvtTimer] >> 17) & 3);

    /// <summary>Nanoseconds for one count: 1 to 128.</summary>
    private long Divider
    {
        get
        {
            uint power = ((_divideConfiguration & 3) | ((_divideConfiguration >> 1) & 4)) + 1;
            return 1L << (int)(power & 7);
        }
    }

    private long Period => _initialCount * Divider;

    /// <summary>The guest's time-stamp counter was set: re-evaluates the TSC deadline. Any thread.</summary>
    public void TscChanged()
    {
        DeferredCalls deferred = default;
        lock (_lock)
        {
            if (_deadline != 0)
            {
                CheckDeadline(ref deferred);
                Update(ref deferred);
            }
        }

        MakeDeferredCalls(deferred);
    }

    private void ResetTimer()
    {
        _initialCount = 0;
        _divideConfiguration = 0;
        _deadline = 0;
        _expiry = Never;
        _alarm.Cancel();
    }

    private uint CurrentCount()
    {
        if (_initialCount == 0 || Mode is TimerMode.Deadline or TimerMode.Reserved || (Mode == TimerMode.Periodic && _expiry == Never))
        {
            return 0;
        }

        long elapsed = (_clock.Now - _countStart) / Divider;
        return Mode == TimerMode.Periodic
            ? _initialCount - (uint)(elapsed % _initialCount)
            : elapsed >= _initialCount ? 0 : _initialCount - (uint)elapsed;
    }

    private void WriteInitialCount(uint value)
    {
        if (Mode is TimerMode.Deadline or TimerMode.Reserved)
        {
            return; // Ignored in deadline mode.
        }

        _initialCount = value;
        _countStart = _clock.Now;
        _expiry = value == 0 ? Never : _countStart + Period;
        ArmTimer();
    }

    private void WriteDivide(uint value)
    {
        uint left = CurrentCount();
        _divideConfiguration = value;
        if (_expiry != Never && Mode is TimerMode.OneShot or TimerMode.Periodic && _initialCount != 0)
        {
            // The remaining count continues at the new rate.
            _countStart = _clock.Now - ((_initialCount - left) * Divider);
            _expiry = _countStart + Period;
            ArmTimer();
        }
    }

    private bool WriteDeadline(ulong value, ref DeferredCalls deferred)
    {
        if (Mode != TimerMode.Deadline)
        {
            return true; // Ignored.
        }

        _deadline = value;
        if (value == 0)
        {
            _expiry = Never;
            _alarm.Cancel();
        }
        else
        {
            CheckDeadline(ref deferred);
        }

        return true;
    }

    private void TimerEntryChanged(uint before)
    {
        var modeBefore = (TimerMode)((before >> 17) & 3);
        if ((modeBefore == TimerMode.Deadline) != (Mode == TimerMode.Deadline))
        {
            // 11.5.4.1: changing to or from deadline mode disarms the timer.
            _initialCount = 0;
            _deadline = 0;
            _expiry = Never;
        }
        else if (modeBefore == TimerMode.OneShot && Mode == TimerMode.Periodic && _expiry != Never && _clock.Now >= _expiry)
        {
            // A one-shot count that has expired restarts only with a new initial count.
            _expiry = Never;
        }
        else if (modeBefore == TimerMode.Periodic && Mode == TimerMode.OneShot && _expiry != Never && Period != 0)
        {
            // The current period continues to its end.
            long now = _clock.Now;
            _countStart = now - ((now - _countStart) % Period);
            _expiry = _countStart + Period;
        }
        else if ((before & LvtMasked) != 0 && _expiry != Never && _clock.Now >= _expiry && Mode != TimerMode.Deadline)
        {
            SkipExpired(); // Expirations while masked are lost.
        }

        ArmTimer();
    }

    private void SkipExpired()
    {
        if (Mode != TimerMode.Periodic || Period == 0)
        {
            _expiry = Never;
            return;
        }

        long now = _clock.Now;
        long next = _countStart + ((((now - _countStart) / Period) + 1) * Period);
        _expiry = Math.Max(next, now + Math.Max(MinPeriod - Period, 0));
    }

    private void ArmTimer()
    {
        if (_expiry == Never || (_lvt[LvtTimer] & LvtMasked) != 0)
        {
            _alarm.Cancel();
        }
        else
        {
            _alarm.Arm(_expiry);
        }
    }

    /// <summary>Fires if the TSC has reached the deadline, else arms the alarm for that time.</summary>
    private void CheckDeadline(ref DeferredCalls deferred)
    {
        ulong tsc = _readTsc();
        if (tsc >= _deadline)
        {
            _deadline = 0;
            _expiry = Never;
            _alarm.Cancel();
            RaiseLocal(_lvt[LvtTimer], ref deferred);
            return;
        }

        // Fixed point with 32 fractional bits, rounded up; a deadline centuries away is clamped.
        ulong high = Math.BigMul(_deadline - tsc, _nanosecondsPerTick, out ulong low);
        long now = _clock.Now;
        ulong wait = (high << 32) | (low >> 32);
        _expiry = high >> 31 != 0 || wait >= (ulong)(Never - 2 - now) ? Never - 1 : now + (long)wait + 1;
        _alarm.Arm(_expiry); // Even if masked: the register reads as zero once it has passed.
    }

    private void OnAlarm()
    {
        DeferredCalls deferred = default;
        lock (_lock)
        {
            if (_expiry == Never || _clock.Now < _expiry)
            {
                return; // Disarmed or moved while this call was on its way; if moved, the alarm fires again.
            }

            if (Mode == TimerMode.Deadline)
            {
                CheckDeadline(ref deferred);
            }
            else
            {
                RaiseLocal(_lvt[LvtTimer], ref deferred);
                SkipExpired();
                ArmTimer();
            }

            Update(ref deferred);
        }

        MakeDeferredCalls(deferred);
    }
}
