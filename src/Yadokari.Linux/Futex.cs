using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>A 32-bit word that threads sleep on: <c>futex(2)</c>, <c>linux/futex.h</c> of Linux 6.1. Private to the process.</summary>
internal sealed unsafe partial class Futex : IDisposable
{
    private const long FutexSystemCall = 202; // asm/unistd_64.h
    private const int WakePrivate = 1 | 128;
    private const int WaitBitsetPrivate = 9 | 128; // With an absolute time of CLOCK_MONOTONIC.
    private const uint AnyBit = 0xFFFF_FFFF;

    private readonly int* _word;

    public Futex()
    {
        // SAFETY: four zeroed bytes that Dispose frees; a futex word must not move, so it is not in the collected heap.
        _word = (int*)NativeMemory.AllocZeroed(sizeof(int));
    }

    /// <summary>The word.</summary>
    public int Value
    {
        // SAFETY: the word lives until Dispose, after which its owner does not call.
        get => Volatile.Read(ref *_word);
    }

    /// <summary>Increments the word, so that a thread that read the old value does not go to sleep.</summary>
    public void Increment()
    {
        // SAFETY: as above.
        Interlocked.Increment(ref *_word);
    }

    /// <summary>Sleeps until woken, or until a time of CLOCK_MONOTONIC in nanoseconds, unless the word is not as expected. May return early.</summary>
    public void Wait(int expected, long until)
    {
        var time = new Timespec(until / 1_000_000_000, until % 1_000_000_000);

        // SAFETY: the word and the time outlive the call.
        WaitCall(FutexSystemCall, _word, WaitBitsetPrivate, expected, until == long.MaxValue ? null : &time, null, AnyBit);
    }

    /// <summary>Wakes one thread that sleeps on the word.</summary>
    public void Wake()
    {
        // SAFETY: the word outlives the call.
        WaitCall(FutexSystemCall, _word, WakePrivate, 1, null, null, 0);
    }

    public void Dispose()
    {
        // SAFETY: allocated by the constructor; the owner disposes once, when no thread waits.
        NativeMemory.Free(_word);
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long WaitCall(long number, int* word, int operation, int value, Timespec* timeout, int* second, uint bits);

    /// <summary><c>struct timespec</c> of x86-64.</summary>
    internal readonly record struct Timespec(long Seconds, long Nanoseconds);
}
