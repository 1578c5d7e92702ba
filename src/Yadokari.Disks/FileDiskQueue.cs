using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks;

/// <summary>
/// An asynchronous queue by io_uring for reads and flushes. Data in the page cache is read synchronously (RWF_NOWAIT), at the cost of one system
/// call; only reads from the disk go to the ring. Writes are synchronous, to the page cache: by the ring most file systems would pass them to a
/// kernel worker thread. A request that failed or ended short in the ring is repeated synchronously, and that result counts.
/// </summary>
internal sealed class FileDiskQueue : IDiskQueue
{
    private readonly IDisk _disk;
    private readonly IExtentDisk _extents;
    private readonly IoUring _ring;
    private readonly Request[] _requests;

    private FileDiskQueue(IDisk disk, IExtentDisk placed, IoUring ring)
    {
        (_disk, _extents, _ring) = (disk, placed, ring);
        _requests = new Request[ring.Slots];
    }

    // A read into so many buffers; a flush has none.
    private record struct Request(FileExtent Extent, long Offset, int Pieces, long Length);

    /// <summary>Opens a queue to a disk; a synchronous one if the host's kernel does not permit io_uring.</summary>
    public static IDiskQueue Open<T>(T disk, int depth)
        where T : IDisk, IExtentDisk =>
        IoUring.TryCreate(depth) is { } ring ? new FileDiskQueue(disk, disk, ring) : new DirectDiskQueue(disk);

    /// <inheritdoc/>
    public DiskProgress Read(long offset, ReadOnlySpan<HostBuffer> pieces, int tag)
    {
        long length = 0;
        foreach (HostBuffer piece in pieces)
        {
            length += piece.Length;
        }

        if (length == 0 || pieces.Length > IoUring.MaxPieces || !_extents.TryMapExtent(offset, length, out FileExtent extent))
        {
            _ring.Submit();
            return _disk.TryRead(offset, pieces) ? DiskProgress.Done : DiskProgress.Failed;
        }

        long done = Math.Max(0, FileVectors.ReadCached(extent.File, extent.Offset, pieces));
        if (done == length)
        {
            extent.Release();
            return DiskProgress.Done;
        }

        Span<HostBuffer> rest = _ring.Pieces(tag);
        int count = 0;
        nint skip = (nint)done;
        foreach (HostBuffer piece in pieces)
        {
            nint head = nint.Min(skip, piece.Length);
            skip -= head;
            if (head < piece.Length)
            {
                rest[count++] = new HostBuffer(piece.Address + head, piece.Length - head);
            }
        }

        _requests[tag] = new Request(extent, offset + done, count, length - done);
        _ring.Read(extent.File, extent.Offset + done, count, tag);
        return DiskProgress.InFlight;
    }

    /// <inheritdoc/>
    public DiskProgress Write(long offset, ReadOnlySpan<HostBuffer> pieces, int tag)
    {
        _ring.Submit();
        return _disk.TryWrite(offset, pieces) ? DiskProgress.Done : DiskProgress.Failed;
    }

    /// <inheritdoc/>
    public DiskProgress Flush(int tag)
    {
        if (_extents.FlushedFile is not { } file)
        {
            _ring.Submit();
            return _disk.TryFlush() ? DiskProgress.Done : DiskProgress.Failed;
        }

        _requests[tag] = default;
        _ring.Flush(file, tag);
        return DiskProgress.InFlight;
    }

    /// <inheritdoc/>
    public void Poll(bool wait) => _ring.Poll(wait);

    /// <inheritdoc/>
    public bool TryTake(out int tag, out bool done)
    {
        if (!_ring.TryTake(out tag, out int result))
        {
            done = false;
            return false;
        }

        Request request = _requests[tag];
        done = result == request.Length || (request.Pieces == 0 ? _disk.TryFlush() : _disk.TryRead(request.Offset, _ring.Pieces(tag)[..request.Pieces]));
        request.Extent.Release();
        return true;
    }

    /// <inheritdoc/>
    public void Wake() => _ring.Wake();

    /// <inheritdoc/>
    public void Dispose() => _ring.Dispose();
}
