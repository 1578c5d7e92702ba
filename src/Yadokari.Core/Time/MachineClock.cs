namespace Yadokari.Core.Time;

/// <summary>
/// A machine's clock, which can be stopped: another clock, less the time for which the machine was paused. Any thread. While it is stopped,
/// <see cref="Now"/> does not advance and no alarm fires; <see cref="UtcNow"/> is the host's and goes on.
/// </summary>
/// <param name="source">The clock that it follows. Not owned.</param>
public sealed class MachineClock(IClock source) : IClock, IDisposable
{
    private const long Running = long.MinValue;

    private readonly Lock _lock = new(); // Guards everything below, but Now is read without it. Only the source's locks are taken inside it.
    private readonly List<Alarm> _alarms = [];
    private long _pausedTime; // Total time of pauses: the offset to the source.
    private long _stoppedAt = Running;

    /// <inheritdoc/>
    public event Action? Resumed
    {
        add => source.Resumed += value;
        remove => source.Resumed -= value;
    }

    /// <inheritdoc/>
    public event Action<Exception>? Failed
    {
        add => source.Failed += value;
        remove => source.Failed -= value;
    }

    /// <inheritdoc/>
    public long Now
    {
        get
        {
            while (true)
            {
                long behind = Volatile.Read(ref _pausedTime);
                long stoppedAt = Volatile.Read(ref _stoppedAt);
                if (stoppedAt != Running)
                {
                    return stoppedAt;
                }

                long now = source.Now - behind;

                // If the clock was started and stopped during the read, reads again.
                if (Volatile.Read(ref _pausedTime) == behind)
                {
                    return now;
                }
            }
        }
    }

    /// <inheritdoc/>
    public DateTime UtcNow => source.UtcNow;

    /// <inheritdoc/>
    public IAlarm CreateAlarm(Action fire)
    {
        var alarm = new Alarm(this, fire);
        lock (_lock)
        {
            _alarms.Add(alarm);
        }

        return alarm;
    }

    /// <summary>Stops it, and waits for a call of an alarm's receiver in flight: not on the clock's thread. Nothing if it is stopped already.</summary>
    public void Stop()
    {
        Alarm[] alarms;
        lock (_lock)
        {
            if (_stoppedAt != Running)
            {
                return;
            }

            Volatile.Write(ref _stoppedAt, source.Now - _pausedTime);
            _alarms.ForEach(a => a.Suspend());
            alarms = [.. _alarms];
        }

        Array.ForEach(alarms, a => a.Wait());
    }

    /// <summary>Starts it where it was stopped. Nothing where it runs.</summary>
    public void Start()
    {
        lock (_lock)
        {
            if (_stoppedAt == Running)
            {
                return;
            }

            Volatile.Write(ref _pausedTime, source.Now - _stoppedAt);
            Volatile.Write(ref _stoppedAt, Running);
            _alarms.ForEach(a => a.Continue());
        }
    }

    /// <summary>Disposes of alarms that were not: none fires any more.</summary>
    public void Dispose()
    {
        Alarm[] alarms;
        lock (_lock)
        {
            alarms = [.. _alarms];
        }

        Array.ForEach(alarms, a => a.Dispose());
    }

    private sealed class Alarm : IAlarm
    {
        private const long Never = long.MaxValue;

        private readonly MachineClock _clock;
        private readonly IAlarm _inner;
        private readonly Action _fire;
        private readonly Lock _firing = new(); // Held while the receiver is called, so that Stop can wait for it.
        private long _deadline = Never; // Under the clock's lock.

        public Alarm(MachineClock clock, Action fire)
        {
            (_clock, _fire) = (clock, fire);
            _inner = clock.Source.CreateAlarm(OnFire);
        }

        public void Arm(long deadline)
        {
            lock (_clock._lock)
            {
                _deadline = deadline;
                if (_clock._stoppedAt == Running)
                {
                    Continue();
                }
            }
        }

        public void Cancel()
        {
            lock (_clock._lock)
            {
                _deadline = Never;
                _inner.Cancel();
            }
        }

        public void Dispose()
        {
            lock (_clock._lock)
            {
                _deadline = Never;
                _clock._alarms.Remove(this);
            }

            _inner.Dispose();
        }

        // Under the clock's lock.
        public void Suspend() => _inner.Cancel();

        // Under the clock's lock.
        public void Continue()
        {
            if (_deadline != Never)
            {
                _inner.Arm(_deadline > Never - Math.Max(_clock._pausedTime, 0) ? Never : _deadline + _clock._pausedTime);
            }
        }

        /// <summary>Waits for the receiver.</summary>
        public void Wait()
        {
            lock (_firing)
            {
            }
        }

        private void OnFire()
        {
            lock (_firing)
            {
                lock (_clock._lock)
                {
                    // An alarm in flight when the clock was stopped fires again after the start.
                    if (_clock._stoppedAt != Running || _deadline == Never)
                    {
                        return;
                    }

                    _deadline = Never;
                }

                _fire();
            }
        }
    }

    private IClock Source => source;
}
