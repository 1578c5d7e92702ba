using System.Buffers;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks.Qcow2;

internal sealed partial class Qcow2Disk
{
    private readonly List<(long First, long End)> _reallocating = []; // Guest clusters that are being reallocated without the lock.
    private long _packedEnd; // Where the last compressed cluster ended in the file, or 0.

    private enum Way
    {
        // The cluster is allocated with refcount 1 (COPIED): it is written in place.
        InPlace,

        // Likewise, but the cluster reads as zeroes as yet.
        Reuse,

        // It needs a new cluster (copy on write).
        New,
    }

    private readonly record struct Step(Way Way, long Host, int Clusters, bool Fresh, bool HeadIsZero, bool TailIsZero, long Length, int Generation);

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<byte> data) =>
        FileVectors.Pinned(data, (Disk: this, Offset: offset), static (piece, at) => at.Disk.TryWrite(at.Offset, new ReadOnlySpan<HostBuffer>(in piece)));

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces)
    {
        var cursor = new PieceCursor(pieces);
        for (long length = Total(pieces); length > 0;)
        {
            Step step;
            if (!TryHaveRoom())
            {
                return false;
            }

            lock (_sync)
            {
                if (!TryPlan(offset, length, out step))
                {
                    return false;
                }
            }

            if (step.Way == Way.InPlace)
            {
                bool done = TryMove(step.Host, step.Length, ref cursor);
                Leave(step.Generation);
                if (!done)
                {
                    return false;
                }
            }
            else if (!TryChange(offset, step, ref cursor))
            {
                return false;
            }

            offset += step.Length;
            length -= step.Length;
        }

        return true;
    }

    /// <summary>Writes a cluster that <see cref="Pack"/> compressed, to where nothing has been written yet. For one thread.</summary>
    internal bool TryWriteCompressed(long offset, ReadOnlySpan<byte> packed)
    {
        if (!TryHaveRoom())
        {
            return false;
        }

        lock (_sync)
        {
            long cluster = offset >> _clusterBits;
            if (_isCorrupt || !TryOwnTable(cluster) || !TryPlace(packed.Length, out long place) || !_file.TryWrite(place, packed)
                || !TryGetSlice(cluster, out Span<byte> slice, out int index, out _))
            {
                return false;
            }

            SetEntry(slice, index, CompressedClusters.Describe(place, packed.Length, _clusterBits));
            return true;
        }
    }

    /// <summary>Compresses a cluster. Returns the bytes it takes, or -1 where it is better left as it is.</summary>
    internal int Pack(ReadOnlySpan<byte> cluster, byte[] packed) => _compressed.Pack(cluster, packed);

    // Allocates space for compressed data behind the last, also across a cluster boundary if the next cluster is free.
    private bool TryPlace(int length, out long place)
    {
        place = _packedEnd;
        long within = place & (_clusterSize - 1);
        long last = place >> _clusterBits;
        bool crosses = within + length > _clusterSize;
        if (within == 0 || !_counts!.TryIncrement(last))
        {
            crosses = true;
            within = 0;
        }

        if (crosses)
        {
            long first = Allocate(1, out _, out _);
            if (first < 0)
            {
                return false;
            }

            if (within != 0 && first != last + 1)
            {
                _counts!.Free([last]);
                within = 0;
            }

            place = within != 0 ? place : first << _clusterBits;
        }

        _packedEnd = place + length;
        return true;
    }

    // Plans the next part of a write. Waits for threads that are reallocating the same clusters.
    private bool TryPlan(long offset, long length, out Step step)
    {
        step = default;
        long cluster = offset >> _clusterBits;
        long most;
        do
        {
            if (_isCorrupt)
            {
                return false;
            }
        }
        while (!WaitFor(cluster, out most));

        if (!TryGetSlice(cluster, out Span<byte> slice, out int index, out int count))
        {
            return false;
        }

        long within = offset & (_clusterSize - 1);
        most = Math.Min(Math.Min(most, count - index), (within + length + _clusterSize - 1) >> _clusterBits);
        if (!TryChoose(Entry(slice, index), out Way way, out long host))
        {
            return FoundCorrupt();
        }

        int clusters = 1;
        for (; clusters < most; clusters++)
        {
            if (!TryChoose(Entry(slice, index + clusters), out Way other, out long place)
                || other != way || (way != Way.New && place != host + ((long)clusters << _clusterBits)))
            {
                break;
            }
        }

        bool fresh = false;
        if (way == Way.New)
        {
            if (!TryOwnTable(cluster))
            {
                return false;
            }

            long first = Allocate(clusters, out clusters, out fresh);
            if (first < 0)
            {
                return false;
            }

            host = first << _clusterBits;
            if (!TryGetSlice(cluster, out slice, out index, out _))
            {
                _counts!.Release(first, clusters);
                return false;
            }
        }

        length = Math.Min(length, ((long)clusters << _clusterBits) - within);
        if (way == Way.InPlace)
        {
            step = new Step(way, host + within, clusters, false, false, false, length, Enter());
            return true;
        }

        long end = (offset + length - 1) >> _clusterBits << _clusterBits;
        step = new Step(way, host, clusters, fresh, IsZeroed(Entry(slice, index), offset - within), IsZeroed(Entry(slice, index + clusters - 1), end), length, 0);
        _reallocating.Add((cluster, cluster + clusters));
        return true;
    }

    // Returns how many clusters from this one on no other thread is reallocating. False after a wait: the caller looks again.
    private bool WaitFor(long cluster, out long free)
    {
        free = long.MaxValue / 2; // Sums with it fit.
        foreach ((long first, long end) in _reallocating)
        {
            if (cluster >= first && cluster < end)
            {
                Monitor.Wait(_sync);
                return false;
            }

            if (first > cluster)
            {
                free = Math.Min(free, first - cluster);
            }
        }

        return true;
    }

    private bool TryChoose(ulong entry, out Way way, out long host)
    {
        bool sound = TryDecode(entry, out Kind kind, out host);
        bool own = host != 0 && (entry & IsCopied) != 0;
        way = own && kind == Kind.Data ? Way.InPlace : own && kind == Kind.Zero ? Way.Reuse : Way.New;
        return sound;
    }

    private bool IsZeroed(ulong entry, long offset) =>
        TryDecode(entry, out Kind kind, out _) && (kind == Kind.Zero || (kind == Kind.Unallocated && HasNoBacking(offset)));

    // Writes whole clusters to their new location, and then updates the L2 table.
    private bool TryChange(long offset, in Step step, ref PieceCursor cursor)
    {
        long within = offset & (_clusterSize - 1);
        long start = offset - within;
        long end = offset + step.Length;
        long past = start + ((long)step.Clusters << _clusterBits);
        bool done = TryKeep(start, step.Host, within, step.HeadIsZero, step.Fresh)
            && TryMove(step.Host + within, step.Length, ref cursor)
            && TryKeep(end, step.Host + end - start, past - end, step.TailIsZero, step.Fresh);
        lock (_sync)
        {
            done = done && TryRefer(start >> _clusterBits, step);
            if (!done && step.Way == Way.New)
            {
                _counts!.Release(step.Host >> _clusterBits, step.Clusters);
            }

            _reallocating.Remove((start >> _clusterBits, past >> _clusterBits));
            Monitor.PulseAll(_sync);
        }

        return done;
    }

    private bool TryRefer(long cluster, in Step step)
    {
        if (_isCorrupt || !TryGetSlice(cluster, out Span<byte> slice, out int index, out _))
        {
            return false;
        }

        for (int i = 0; i < step.Clusters; i++)
        {
            ulong old = Entry(slice, index + i);
            SetEntry(slice, index + i, (ulong)(step.Host + ((long)i << _clusterBits)) | IsCopied);
            if (step.Way == Way.New)
            {
                Drop(old);
            }
        }

        return true;
    }

    // Copy on write: copies the part of a cluster that the write does not cover.
    private bool TryKeep(long offset, long host, long length, bool isZero, bool fresh)
    {
        if (length == 0 || (isZero && fresh))
        {
            return true;
        }

        if (isZero)
        {
            return TryWriteZeroes(host, length);
        }

        byte[] buffer = ArrayPool<byte>.Shared.Rent((int)length);
        Span<byte> data = buffer.AsSpan(0, (int)length);

        // The last cluster of a disk may reach beyond its end.
        long there = Math.Clamp(Length - offset, 0, length);
        data[(int)there..].Clear();
        bool done = TryRead(offset, data[..(int)there]) && _file.TryWrite(host, data);
        ArrayPool<byte>.Shared.Return(buffer);
        return done;
    }

    private bool TryMove(long offset, long length, ref PieceCursor from)
    {
        while (length > 0)
        {
            ReadOnlySpan<HostBuffer> pieces = from.Take(length, out long taken);
            if (!_file.TryWrite(offset, pieces))
            {
                return false;
            }

            offset += taken;
            length -= taken;
        }

        return true;
    }
}
