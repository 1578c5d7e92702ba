using Yadokari.Core.Time;

namespace Yadokari.Machines.Tests;

/// <summary>A clock that a test moves.</summary>
internal sealed class ManualClock : IClock
{
    private readonly object _lock = new();
    private readonly List<Alarm> _armed = [];
    private long _now;
    private int _alarms;
    private Action? _resumed;
    private Action<Exception>? _failed;

    public event Action? Resumed
    {
        add => _resumed += value;
        remove => _resumed -= value;
    }

    public event Action<Exception>? Failed
    {
        add => _failed += value;
        remove => _failed -= value;
    }

    /// <summary>Handlers of events that were added and not removed.</summary>
    public int Handlers => (_resumed?.GetInvocationList().Length ?? 0) + (_failed?.GetInvocationList().Length ?? 0);

    /// <summary>Alarms that were made and not disposed of.</summary>
    public int Alarms => Volatile.Read(ref _alarms);

    public void Fail(Exception error) => _failed?.Invoke(error);

    public long Now => Volatile.Read(ref _now);

    public DateTime UtcNow => DateTime.UnixEpoch.AddTicks(Now / 100);

    public IAlarm CreateAlarm(Action fire)
    {
        Interlocked.Increment(ref _alarms);
        return new Alarm(this, fire);
    }

    public void Advance(TimeSpan time)
    {
        long end = Now + (long)time.TotalNanoseconds;
        while (true)
        {
            Alarm? due;
            lock (_lock)
            {
                due = _armed.Where(a => a.Deadline <= end).MinBy(a => a.Deadline);
                if (due is null)
                {
                    break;
                }

                _armed.Remove(due);
                Volatile.Write(ref _now, Math.Max(_now, due.Deadline));
            }

            due.Fire();
        }

        Volatile.Write(ref _now, end);
    }

    private sealed class Alarm(ManualClock clock, Action fire) : IAlarm
    {
        public long Deadline { get; private set; }

        public void Fire() => fire();

        public void Arm(long deadline)
        {
            lock (clock._lock)
            {
                Deadline = deadline;
                clock._armed.Remove(this);
                clock._armed.Add(this);
            }
        }

        public void Cancel()
        {
            lock (clock._lock)
            {
                clock._armed.Remove(this);
            }
        }

        public void Dispose()
        {
            Cancel();
            Interlocked.Decrement(ref clock._alarms);
        }
    }
}
