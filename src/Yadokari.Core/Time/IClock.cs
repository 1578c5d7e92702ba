namespace Yadokari.Core.Time;

/// <summary>The time a machine's devices live by. Any thread.</summary>
public interface IClock
{
    /// <summary>Nanoseconds since the machine was made; never goes back.</summary>
    long Now { get; }

    /// <summary>The wall clock, UTC: what a CMOS clock shows.</summary>
    DateTime UtcNow { get; }

    /// <summary>Makes a one-shot alarm, not armed yet.</summary>
    /// <param name="fire">Called on the clock's thread, with no lock held, at most once for each arming.</param>
    IAlarm CreateAlarm(Action fire);
}

/// <summary>A one-shot alarm of a clock. Any thread.</summary>
public interface IAlarm : IDisposable
{
    /// <summary>Arms, or moves, the alarm to a time of <see cref="IClock.Now"/>; a time gone by fires at once (on the clock's thread).</summary>
    void Arm(long deadline);

    /// <summary>Disarms. A call already on its way may still arrive: its receiver checks its own state.</summary>
    void Cancel();
}
