using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>
/// Keeps a thread and a process that take turns on one processor: waking a sleeper on another one costs many times more than a switch
/// (sched_setaffinity(2)). Of the thread that calls.
/// </summary>
public sealed unsafe partial class Affinity
{
    private const int Length = 128;
    private readonly byte[] _all = new byte[Length];
    private readonly bool _known;
    private readonly int? _place;
    private bool _pinned;

    /// <summary>Records the affinity mask of the calling thread.</summary>
    /// <param name="place">
    /// Index of the processor to use among those that the thread may run on; wraps around. Null for the one on which the thread runs.
    /// </param>
    public Affinity(int? place = null)
    {
        _place = place;
        // SAFETY: the kernel writes no more than the length given.
        fixed (byte* all = _all)
        {
            _known = GetAffinity(0, Length, all) == 0;
        }
    }

    /// <summary>Binds the calling thread and a process to one processor: the given one, or the one on which the thread runs.</summary>
    public void Join(int process)
    {
        int processor = _place is { } place ? Allowed(place) : CurrentProcessor();
        if (!_known || processor < 0 || processor >= Length * 8)
        {
            return;
        }

        byte* one = stackalloc byte[Length];
        new Span<byte>(one, Length).Clear();
        one[processor / 8] = (byte)(1 << (processor % 8));
        _pinned = SetAffinity(0, Length, one) == 0;
        _ = SetAffinity(process, Length, one);
    }

    private int Allowed(int place)
    {
        int count = _all.Sum(b => System.Numerics.BitOperations.PopCount(b));
        int left = count == 0 ? -1 : place % count;
        for (int i = 0; i < Length * 8; i++)
        {
            if ((_all[i / 8] >> (i % 8) & 1) != 0 && left-- == 0)
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Restores the calling thread's affinity mask.</summary>
    public void Part()
    {
        if (_pinned)
        {
            _pinned = false;
            fixed (byte* all = _all)
            {
                _ = SetAffinity(0, Length, all);
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "sched_getcpu")]
    private static partial int CurrentProcessor();

    // SAFETY: both masks are Length bytes.
    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int process, nuint length, byte* mask);

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int process, nuint length, byte* mask);
}
