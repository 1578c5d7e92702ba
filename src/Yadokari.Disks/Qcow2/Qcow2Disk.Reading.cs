using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks.Qcow2;

internal sealed partial class Qcow2Disk
{
    /// <inheritdoc/>
    SafeFileHandle? IExtentDisk.FlushedFile => null;

    /// <inheritdoc/>
    public bool TryRead(long offset, Span<byte> data) =>
        FileVectors.Pinned(data, (Disk: this, Offset: offset), static (piece, at) => at.Disk.TryRead(at.Offset, new ReadOnlySpan<HostBuffer>(in piece)));

    /// <inheritdoc/>
    public bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces)
    {
        var cursor = new PieceCursor(pieces);
        for (long length = Total(pieces); length > 0;)
        {
            Run run;
            int generation;
            lock (_sync)
            {
                if (!TryMap(offset, length, out run))
                {
                    return false;
                }

                generation = Enter();
            }

            bool done = TryRead(run, offset, ref cursor);
            Leave(generation);
            if (!done)
            {
                return false;
            }

            offset += run.Length;
            length -= run.Length;
        }

        return true;
    }

    /// <inheritdoc/>
    public IDiskQueue OpenQueue(int depth) => FileDiskQueue.Open(this, depth);

    /// <inheritdoc/>
    public bool TryMapExtent(long offset, long length, out FileExtent place)
    {
        place = default;
        lock (_sync)
        {
            if (!TryMap(offset, length, out Run run) || run.Length < length)
            {
                return false;
            }

            if (run.Kind == Kind.Data && run.Host + length <= _file.Length && _file.Handle is { } file)
            {
                place = new FileExtent(file, run.Host, this, Enter());
                return true;
            }

            if (run.Kind != Kind.Unallocated)
            {
                return false;
            }
        }

        // What is behind is only read: nothing moves there.
        return _backing is IExtentDisk backing && offset + length <= _backing.Length && backing.TryMapExtent(offset, length, out place);
    }

    /// <inheritdoc/>
    void IExtentDisk.ReleaseExtent(int generation) => Leave(generation);

    /// <inheritdoc/>
    public long KnownZeroes(long offset)
    {
        Run run;
        lock (_sync)
        {
            if (!TryMap(offset, Length - offset, out run))
            {
                return 0;
            }
        }

        return run.Kind switch
        {
            Kind.Zero => run.Length,
            Kind.Unallocated when HasNoBacking(offset) => run.Length,
            Kind.Unallocated when _backing is ISparse sparse => Math.Min(run.Length, sparse.KnownZeroes(offset)),
            _ => 0,
        };
    }

    private bool TryRead(in Run run, long offset, ref PieceCursor to)
    {
        switch (run.Kind)
        {
            case Kind.Data:
                long there = Math.Clamp(_file.Length - run.Host, 0, run.Length);
                if (!TryMove(_file, run.Host, there, ref to))
                {
                    return false;
                }

                to.Clear(run.Length - there); // A file may end within its last cluster.
                return true;
            case Kind.Compressed:
                return _compressed.TryRead(_file, run.Entry, (int)(offset & (_clusterSize - 1)), (int)run.Length, ref to);
            case Kind.Unallocated when !HasNoBacking(offset):
                long backed = Math.Min(run.Length, _backing!.Length - offset);
                for (long done = 0; done < backed;)
                {
                    ReadOnlySpan<HostBuffer> pieces = to.Take(backed - done, out long taken);
                    if (!_backing.TryRead(offset + done, pieces))
                    {
                        return false;
                    }

                    done += taken;
                }

                to.Clear(run.Length - backed);
                return true;
            default:
                to.Clear(run.Length);
                return true;
        }
    }

    private static bool TryMove(IImageFile file, long offset, long length, ref PieceCursor to)
    {
        while (length > 0)
        {
            ReadOnlySpan<HostBuffer> pieces = to.Take(length, out long taken);
            if (!file.TryRead(offset, pieces))
            {
                return false;
            }

            offset += taken;
            length -= taken;
        }

        return true;
    }

    private static long Total(ReadOnlySpan<HostBuffer> pieces)
    {
        long length = 0;
        foreach (HostBuffer piece in pieces)
        {
            length += piece.Length;
        }

        return length;
    }
}
