using Yadokari.Core.Time;

namespace Yadokari.Machines.Tests;

/// <summary>A clock that a test moves.</summary>
internal sealed class ManualClock : IClock
{
    private readonly object _lock = new();
    private readonly List<Alarm> _armed = [];
    private long _now;

    public long Now => Volatile.Read(ref _now);

    public DateTime UtcNow => DateTime.UnixEpoch.AddTicks(Now / 100);

    public IAlarm CreateAlarm(Action fire) => new Alarm(this, fire);

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

        public void Dispose() => Cancel();
    }
}
