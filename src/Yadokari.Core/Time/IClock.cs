namespace Yadokari.Core.Time;

/// <summary>The time a machine's devices live by. Any thread.</summary>
public interface IClock
{
    /// <summary>Nanoseconds since the machine was made, those in which the host slept among them; never goes back.</summary>
    long Now { get; }

    /// <summary>The wall clock, UTC: what a CMOS clock shows.</summary>
    DateTime UtcNow { get; }

    /// <summary>
    /// The host slept, and <see cref="Now"/> has just moved on by that. On a thread of the clock's, with no lock of a device held. Removing a
    /// handler waits for a call in flight, unless it is that call that removes it.
    /// </summary>
    event Action? Resumed
    {
        add { }
        remove { }
    }

    /// <summary>
    /// A thread of the clock's met an exception that nothing expected: no alarm fires any more. On that thread; at once for a handler that
    /// is added afterwards. Removing a handler waits as with <see cref="Resumed"/>.
    /// </summary>
    event Action<Exception>? Failed
    {
        add { }
        remove { }
    }

    /// <summary>Makes a one-shot alarm, not armed yet.</summary>
    /// <param name="fire">Called on the clock's thread, with no lock of a device held, at most once for each arming.</param>
    IAlarm CreateAlarm(Action fire);
}

/// <summary>
/// A one-shot alarm of a clock. Any thread. Disposing disarms it for good and waits for a call in flight, unless on the clock's thread: with no
/// lock held that the receiver takes.
/// </summary>
public interface IAlarm : IDisposable
{
    /// <summary>Arms, or moves, the alarm to a time of <see cref="IClock.Now"/>; a time gone by fires at once (on the clock's thread).</summary>
    void Arm(long deadline);

    /// <summary>Disarms. A call already on its way may still arrive: its receiver checks its own state.</summary>
    void Cancel();
}
