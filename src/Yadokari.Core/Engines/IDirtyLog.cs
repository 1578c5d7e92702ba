namespace Yadokari.Core.Engines;

/// <summary>
/// Which pages of RAM were written, by vCPUs (their page walks included), devices or the machine: for copying the memory of a guest that runs
/// on. Off at first; while it is off it costs nothing. One thread at a time, none of a vCPU, with no lock held that a vCPU's access to a
/// device may wait for.
/// </summary>
public interface IDirtyLog
{
    /// <summary>Words of a bitmap: a bit for each 4096 bytes from guest physical address 0 to the end of RAM, the first in bit 0 of word 0.</summary>
    int BitmapWords { get; }

    /// <summary>Begins to note writes: all that happen after this returns. Nothing if it is on.</summary>
    void Start();

    /// <summary>
    /// Takes what was noted and clears it. A page read after this returns holds every write that is in the bitmap; writes after that are in
    /// the next one. A page may be there without having been written. What a device writes is there once it has told of it, and so
    /// the last bitmap is complete if it is taken with devices and vCPUs paused.
    /// </summary>
    /// <param name="bitmap">Gets <see cref="BitmapWords"/> words.</param>
    /// <returns>How many pages.</returns>
    /// <exception cref="InvalidOperationException">The log is off.</exception>
    /// <exception cref="ArgumentException">The bitmap is too short.</exception>
    long Collect(Span<ulong> bitmap);

    /// <summary>Ends it and forgets what was noted. Nothing if it is off.</summary>
    void Stop();
}
