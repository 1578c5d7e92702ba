using Yadokari.Core.Memory;

namespace Yadokari.Core.Disks;

/// <summary>The state of a disk request.</summary>
public enum DiskProgress
{
    /// <summary>It has completed.</summary>
    Done,

    /// <summary>It failed; it may have been done in part.</summary>
    Failed,

    /// <summary>It is in flight; <see cref="IDiskQueue.TryTake"/> returns its completion.</summary>
    InFlight,
}

/// <summary>
/// An asynchronous request queue of a disk. A request that need not wait for the host completes synchronously. One thread calls everything but
/// <see cref="Wake"/>. Ranges lie within the disk; no request is in flight when the queue is disposed of, which is before its disk.
/// </summary>
public interface IDiskQueue : IDisposable
{
    /// <summary>Submits a read into buffers of guest memory, in order.</summary>
    /// <param name="offset">Offset on the disk in bytes.</param>
    /// <param name="pieces">The buffers; the memory stays valid until the request has completed.</param>
    /// <param name="tag">Identifies the request while it is in flight: less than the queue's depth, and unique among requests in flight.</param>
    DiskProgress Read(long offset, ReadOnlySpan<HostBuffer> pieces, int tag);

    /// <summary>Submits a write from buffers of guest memory, in order.</summary>
    DiskProgress Write(long offset, ReadOnlySpan<HostBuffer> pieces, int tag);

    /// <summary>Submits a flush: writes that have completed are on stable storage when it completes.</summary>
    DiskProgress Flush(int tag);

    /// <summary>Submits pending requests to the host and collects completions.</summary>
    /// <param name="wait">Whether to wait for a completion or <see cref="Wake"/>; spurious returns are possible.</param>
    void Poll(bool wait);

    /// <summary>Takes the completion of a request, in any order. False if <see cref="Poll"/> has collected no more.</summary>
    bool TryTake(out int tag, out bool done);

    /// <summary>Makes a waiting <see cref="Poll"/> return, or the next one. Any thread.</summary>
    void Wake();
}
