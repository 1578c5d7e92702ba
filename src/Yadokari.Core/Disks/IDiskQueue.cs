using Yadokari.Core.Memory;

namespace Yadokari.Core.Disks;

/// <summary>How a request to a disk stands.</summary>
public enum DiskProgress
{
    /// <summary>It is done.</summary>
    Done,

    /// <summary>The host could not; it may be done in part.</summary>
    Failed,

    /// <summary>The host is at it; <see cref="IDiskQueue.TryTake"/> tells of its end.</summary>
    InFlight,
}

/// <summary>
/// Requests to a disk that are in flight together, as far as they have to wait for the host; what need not is done on the spot. One thread calls
/// everything but <see cref="Wake"/>. Ranges lie within the disk, and nothing is in flight when it is disposed of, before its disk.
/// </summary>
public interface IDiskQueue : IDisposable
{
    /// <summary>Reads into pieces of guest memory, one after another.</summary>
    /// <param name="offset">Where on the disk.</param>
    /// <param name="pieces">Where to; the memory stays until the request has ended.</param>
    /// <param name="tag">By what the request is known if it stays in flight: below the queue's depth, and no other's that is.</param>
    DiskProgress Read(long offset, ReadOnlySpan<HostBuffer> pieces, int tag);

    /// <summary>Writes from pieces of guest memory, one after another.</summary>
    DiskProgress Write(long offset, ReadOnlySpan<HostBuffer> pieces, int tag);

    /// <summary>Makes lasting what was written by requests that have ended.</summary>
    DiskProgress Flush(int tag);

    /// <summary>Sees to it that what is in flight goes on, and looks what has ended.</summary>
    /// <param name="wait">Whether to wait until something has, or for <see cref="Wake"/>; it may also return for nothing.</param>
    void Poll(bool wait);

    /// <summary>Takes a request that was in flight and has ended, in any order. False if there is none that <see cref="Poll"/> has seen.</summary>
    bool TryTake(out int tag, out bool done);

    /// <summary>Ends a <see cref="Poll"/> that waits, now or when it begins. Any thread.</summary>
    void Wake();
}
