namespace Yadokari.Core.Time;

/// <summary>The clock source of all emulated timers. Any thread.</summary>
public interface IClock
{
    /// <summary>Nanoseconds since the machine was created, suspend of the host included (as CLOCK_BOOTTIME); monotonic.</summary>
    long Now { get; }

    /// <summary>The wall clock, UTC: what a CMOS clock shows.</summary>
    DateTime UtcNow { get; }

    /// <summary>
    /// The host was suspended, and <see cref="Now"/> has just advanced by that time. On a thread of the clock, with no lock of a device held. Removing a
    /// handler waits for a call in flight, unless it is that call that removes it.
    /// </summary>
    event Action? Resumed
    {
        add { }
        remove { }
    }

    /// <summary>
    /// A thread of the clock ended by an unexpected exception: no alarm fires any more. On that thread; at once for a handler that
    /// is added afterwards. Removing a handler waits as with <see cref="Resumed"/>.
    /// </summary>
    event Action<Exception>? Failed
    {
        add { }
        remove { }
    }

    /// <summary>Creates a one-shot alarm, disarmed.</summary>
    /// <param name="fire">Called on the clock's thread, with no lock of a device held, at most once for each arming.</param>
    IAlarm CreateAlarm(Action fire);
}

/// <summary>
/// A one-shot alarm of a clock. Any thread. Disposing disarms it for good and waits for a call in flight, unless on the clock's thread: with no
/// lock held that the receiver takes.
/// </summary>
public interface IAlarm : IDisposable
{
    /// <summary>Arms, or moves, the alarm to a time of <see cref="IClock.Now"/>; a time in the past fires immediately (on the clock's thread).</summary>
    void Arm(long deadline);

    /// <summary>Disarms. A call in flight may still arrive: its receiver checks its own state.</summary>
    void Cancel();
}
