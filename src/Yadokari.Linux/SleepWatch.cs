using System.Runtime.InteropServices;
using Yadokari.Core.Lifetimes;

namespace Yadokari.Linux;

/// <summary>
/// Detects that the host was suspended (to RAM or to disk). The kernel sets the wall clock at the end of a suspend, which cancels a timer of that
/// clock (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET); the duration of the suspend is what CLOCK_BOOTTIME has gained on CLOCK_MONOTONIC. A
/// thread waits for the timer.
/// </summary>
public sealed unsafe partial class SleepWatch : IDisposable
{
    private const int Realtime = 0;
    private const int Monotonic = 1;
    private const int Boottime = 7;
    private const int CloseOnExec = 0x80000;
    private const int Absolute = 1;
    private const int CancelOnSet = 2;

    // The tolerance for two clocks that are read one after the other.
    private const long Noise = 1_000_000;

    private readonly Action<long> _slept;
    private readonly int _timer = TimerCreate(Realtime, CloseOnExec);
    private readonly Thread? _thread;
    private volatile bool _stopping;

    /// <summary>Starts watching. On a host without such timers it has no effect.</summary>
    /// <param name="slept">Called with the duration in nanoseconds, soon after the host woke up, on the watch's thread.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    public SleepWatch(Action<long> slept, Action<Exception>? failed = null)
    {
        _slept = slept;
        if (_timer >= 0)
        {
            _thread = HostThread.Start("sleep watch", Watch, failed);
        }
    }

    /// <summary>Nanoseconds since the host booted, including suspends.</summary>
    public static long BootTime => Read(Boottime);

    /// <summary>Stops watching; waits for a running callback, unless that is the caller.</summary>
    public void Dispose()
    {
        if (_thread is null || _stopping)
        {
            return;
        }

        _stopping = true;
        Arm(1);
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    private void Watch()
    {
        const long farAway = long.MaxValue / 2_000_000_000;
        long asleep = Read(Boottime) - Read(Monotonic);
        ulong count;
        while (!_stopping)
        {
            Arm(farAway);
            if (_stopping)
            {
                break;
            }

            _ = ReadTimer(_timer, &count, sizeof(ulong)); // SAFETY: eight bytes, which is what a timer gives.
            long now = Read(Boottime) - Read(Monotonic);
            if (now - asleep > Noise)
            {
                _slept(now - asleep);
                asleep = now;
            }
        }

        _ = Libc.Close(_timer);
    }

    private void Arm(long second)
    {
        // struct itimerspec: the interval (none), and the time.
        long* times = stackalloc long[] { 0, 0, second, 0 };
        _ = SetTime(_timer, Absolute | CancelOnSet, times, null); // SAFETY: the kernel reads the four numbers, which live until the call returns.
    }

    private static long Read(int clock)
    {
        long* time = stackalloc long[2];
        _ = GetTime(clock, time); // SAFETY: the kernel writes a struct timespec, which is two numbers.
        return (time[0] * 1_000_000_000) + time[1];
    }

    [LibraryImport("libc", EntryPoint = "timerfd_create", SetLastError = true)]
    private static partial int TimerCreate(int clock, int flags);

    [LibraryImport("libc", EntryPoint = "timerfd_settime", SetLastError = true)]
    private static partial int SetTime(int timer, int flags, long* wanted, long* before);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadTimer(int timer, void* data, nuint length);

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, long* time);
}
