using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>The timer slack of a thread, by which the kernel may delay the end of its timed sleeps to save power: <c>prctl(2)</c>, <c>linux/prctl.h</c>.</summary>
internal static partial class TimerSlack
{
    private const int SetTimerSlack = 29;

    /// <summary>Sets the calling thread's slack in nanoseconds (the default is 50 microseconds). Best effort.</summary>
    public static void Set(ulong nanoseconds) => Prctl(SetTimerSlack, nanoseconds, 0, 0, 0);

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int Prctl(int option, ulong second, ulong third, ulong fourth, ulong fifth);
}
