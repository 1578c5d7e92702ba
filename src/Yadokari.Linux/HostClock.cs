using System.Diagnostics;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Time;

namespace Yadokari.Linux;

/// <summary>
/// The host's monotonic clock as a machine's clock. One thread of its own sleeps until the earliest deadline and calls what is due, with no
/// lock of a device held; callbacks must be short and must not throw. Arming allocates nothing, and wakes the thread only for a deadline earlier than the
/// one it sleeps for: a timer that is postponed again and again, as kernels do, costs no system call.
/// </summary>
public sealed class HostClock : IClock, IDisposable
{
    private const long Never = long.MaxValue;
    private const long Awake = long.MinValue;

    private readonly long _start = Stopwatch.GetTimestamp(); // CLOCK_MONOTONIC in nanoseconds, on Linux.
    private readonly Lock _lock = new(); // Innermost of all: devices arm alarms under their own locks. Nothing is called inside it.
    private readonly Lock _firing = new(); // Held while an alarm's receiver is called: disposing of an alarm waits for it.
    private readonly Lock _raising = new(); // Held while handlers of the events are called: removing one waits for it.
    private readonly Futex _changed = new();
    private readonly Thread _thread;
    private readonly SleepWatch _sleeps;
    private long _suspendedTime; // Total time of suspends, which CLOCK_MONOTONIC excludes. Written under the lock.
    private Alarm[] _heap = new Alarm[16]; // A binary heap by deadline; there is room for every alarm made.
    private int _armed;
    private int _made;
    private long _sleepsUntil = Awake;
    private bool _stopping; // No alarm fires any more.
    private int _disposed;
    private Action? _resumed; // Written under _raising, as is what follows.
    private Action<Exception>? _failed;
    private Exception? _failure;

    /// <summary>Starts the clock at 0.</summary>
    public HostClock()
    {
        Debug.Assert(Stopwatch.Frequency == 1_000_000_000, "the runtime counts CLOCK_MONOTONIC in nanoseconds");
        _thread = HostThread.Start("clock", Run, Fail);
        _sleeps = new SleepWatch(AfterSleep, Fail);
    }

    /// <inheritdoc/>
    public event Action? Resumed
    {
        add
        {
            lock (_raising)
            {
                _resumed += value;
            }
        }

        remove
        {
            lock (_raising)
            {
                _resumed -= value;
            }
        }
    }

    /// <inheritdoc/>
    public event Action<Exception>? Failed
    {
        add
        {
            lock (_raising)
            {
                _failed += value;
                if (_failure is { } failure)
                {
                    value?.Invoke(failure);
                }
            }
        }

        remove
        {
            lock (_raising)
            {
                _failed -= value;
            }
        }
    }

    /// <inheritdoc/>
    public long Now => Stopwatch.GetTimestamp() - _start + Volatile.Read(ref _suspendedTime);

    /// <inheritdoc/>
    public DateTime UtcNow => DateTime.UtcNow;

    /// <summary>Number of times that arming an alarm woke the thread: for tests and statistics.</summary>
    public long Wakes { get; private set; }

    /// <summary>Whether the thread sleeps, or is about to.</summary>
    public bool Sleeping
    {
        get
        {
            lock (_lock)
            {
                return _sleepsUntil != Awake;
            }
        }
    }

    /// <inheritdoc/>
    public IAlarm CreateAlarm(Action fire)
    {
        lock (_lock)
        {
            if (++_made > _heap.Length)
            {
                Array.Resize(ref _heap, _heap.Length * 2);
            }
        }

        return new Alarm(this, fire);
    }

    /// <summary>The host was suspended: advances the clock by that time, and fires alarms that have expired. On a thread of its own, one call at a time.</summary>
    public void AfterSleep(long nanoseconds)
    {
        lock (_lock)
        {
            if (_stopping)
            {
                return;
            }

            Volatile.Write(ref _suspendedTime, _suspendedTime + nanoseconds);
            _changed.Increment();
            _changed.Wake();
        }

        lock (_raising)
        {
            _resumed?.Invoke();
        }
    }

    /// <summary>Stops the clock's thread; no alarm fires after that. Waits for a callback that runs, unless it is the caller.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        lock (_lock)
        {
            if (!_stopping)
            {
                _stopping = true;
                _changed.Increment();
                _changed.Wake();
            }
        }

        _sleeps.Dispose();
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    private void Fail(Exception error)
    {
        lock (_raising)
        {
            _failure ??= error;
            _failed?.Invoke(error);
        }
    }

    private void Run()
    {
        TimerSlack.Set(1);
        try
        {
            FireAlarms();
        }
        finally
        {
            lock (_lock)
            {
                // Arming has no effect from here on: under the lock, it tests this before it uses the futex.
                _stopping = true;
            }

            _changed.Dispose();
        }
    }

    private void FireAlarms()
    {
        while (true)
        {
            Alarm? due = null;
            int seen;
            long until = Never;
            long asleep;
            lock (_lock)
            {
                if (_stopping)
                {
                    break;
                }

                seen = _changed.Value;
                _sleepsUntil = Awake;
                if (_armed > 0)
                {
                    until = _heap[0].Deadline;
                    if (until <= Now)
                    {
                        due = _heap[0];
                        Remove(due);
                    }
                }

                if (due is null)
                {
                    _sleepsUntil = until;
                }

                asleep = _suspendedTime;
            }

            if (due is null)
            {
                _changed.Wait(seen, until > Never - _start ? Never : until + _start - asleep);
                continue;
            }

            lock (_firing)
            {
                if (!due.Disposed)
                {
                    due.Fire();
                }
            }
        }
    }

    private void Arm(Alarm alarm, long deadline)
    {
        lock (_lock)
        {
            if (_stopping || alarm.Disposed)
            {
                return;
            }

            alarm.Deadline = deadline;
            if (alarm.Position < 0)
            {
                alarm.Position = _armed;
                _heap[_armed++] = alarm;
            }

            Settle(alarm);
            if (deadline < _sleepsUntil)
            {
                _sleepsUntil = Awake; // Woken once is enough.
                Wakes++;
                _changed.Increment();
                _changed.Wake();
            }
        }
    }

    private void Cancel(Alarm alarm, bool dispose)
    {
        lock (_lock)
        {
            if (alarm.Position >= 0)
            {
                Remove(alarm);
            }

            if (dispose && !alarm.Disposed)
            {
                alarm.Disposed = true;
                _made--;
            }
        }

        if (dispose)
        {
            // A call that has begun ends first, one that has not sees that it is disposed of. On the clock's thread the lock is its own.
            lock (_firing)
            {
            }
        }
    }

    private void Remove(Alarm alarm)
    {
        Alarm last = _heap[--_armed];
        _heap[_armed] = null!;
        if (last != alarm)
        {
            last.Position = alarm.Position;
            _heap[last.Position] = last;
            Settle(last);
        }

        alarm.Position = -1;
    }

    /// <summary>Moves an alarm up or down to where its deadline belongs.</summary>
    private void Settle(Alarm alarm)
    {
        int at = alarm.Position;
        while (at > 0 && alarm.Deadline < _heap[(at - 1) / 2].Deadline)
        {
            Place(_heap[(at - 1) / 2], at);
            at = (at - 1) / 2;
        }

        while (true)
        {
            int child = (2 * at) + 1;
            if (child >= _armed)
            {
                break;
            }

            if (child + 1 < _armed && _heap[child + 1].Deadline < _heap[child].Deadline)
            {
                child++;
            }

            if (_heap[child].Deadline >= alarm.Deadline)
            {
                break;
            }

            Place(_heap[child], at);
            at = child;
        }

        Place(alarm, at);
    }

    private void Place(Alarm alarm, int position)
    {
        _heap[position] = alarm;
        alarm.Position = position;
    }

    private sealed class Alarm(HostClock clock, Action fire) : IAlarm
    {
        public Action Fire { get; } = fire;

        public long Deadline { get; set; }

        /// <summary>Where it is in the heap; -1 if not armed.</summary>
        public int Position { get; set; } = -1;

        /// <summary>Set under the clock's lock.</summary>
        public bool Disposed
        {
            get => Volatile.Read(ref field);
            set => Volatile.Write(ref field, value);
        }

        public void Arm(long deadline) => clock.Arm(this, deadline);

        public void Cancel() => clock.Cancel(this, dispose: false);

        public void Dispose() => clock.Cancel(this, dispose: true);
    }
}
