namespace Yadokari.Core.Engines;

/// <summary>
/// Records which pages of RAM are written, by vCPUs (including their page walks), devices or the machine: for copying the memory of a running
/// guest. Off at first; it costs nothing while it is off. Called by one thread at a time, never a vCPU's, with no lock held that a vCPU's
/// access to a device may wait for.
/// </summary>
public interface IDirtyLog
{
    /// <summary>Words of a bitmap: a bit for each 4096 bytes from guest physical address 0 to the end of RAM, the first in bit 0 of word 0.</summary>
    int BitmapWords { get; }

    /// <summary>Starts the log: it records all writes after this returns. Does nothing if the log is on.</summary>
    void Start();

    /// <summary>
    /// Copies the bitmap of written pages and clears it. A page that is read after this returns contains every write in the bitmap; later writes
    /// are in the next bitmap. A page that was not written may be set. A device's write is in the log after the device has reported it, so the last
    /// bitmap is complete if devices and vCPUs are paused.
    /// </summary>
    /// <param name="bitmap">Receives <see cref="BitmapWords"/> words.</param>
    /// <returns>Count of pages in the bitmap.</returns>
    /// <exception cref="InvalidOperationException">The log is off.</exception>
    /// <exception cref="ArgumentException">The bitmap is too short.</exception>
    long Collect(Span<ulong> bitmap);

    /// <summary>Stops the log and clears it. Does nothing if the log is off.</summary>
    void Stop();
}
