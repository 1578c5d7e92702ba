using Yadokari.Core.Memory;

namespace Yadokari.Core.Disks;

/// <summary>The queue of a disk that completes every request synchronously: none is ever in flight.</summary>
/// <param name="disk">The disk.</param>
public sealed class DirectDiskQueue(IDisk disk) : IDiskQueue
{
    /// <inheritdoc/>
    public DiskProgress Read(long offset, ReadOnlySpan<HostBuffer> pieces, int tag) => disk.TryRead(offset, pieces) ? DiskProgress.Done : DiskProgress.Failed;

    /// <inheritdoc/>
    public DiskProgress Write(long offset, ReadOnlySpan<HostBuffer> pieces, int tag) => disk.TryWrite(offset, pieces) ? DiskProgress.Done : DiskProgress.Failed;

    /// <inheritdoc/>
    public DiskProgress Flush(int tag) => disk.TryFlush() ? DiskProgress.Done : DiskProgress.Failed;

    /// <inheritdoc/>
    public void Poll(bool wait)
    {
    }

    /// <inheritdoc/>
    public bool TryTake(out int tag, out bool done)
    {
        (tag, done) = (0, false);
        return false;
    }

    /// <inheritdoc/>
    public void Wake()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
