using System.Buffers.Binary;

namespace Yadokari.Disks.Qcow2;

// Where the guest's clusters are. Everything here is called with _sync held.
internal sealed partial class Qcow2Disk
{
    private enum Kind
    {
        Unallocated,
        Zero,
        Data,
        Compressed,
    }

    // A part of the disk that is in one piece in the file, or of one kind.
    private readonly record struct Run(Kind Kind, long Host, long Length, ulong Entry, bool Copied);

    // A cluster's kind and place. False where its entry makes no sense.
    private bool TryDecode(ulong entry, out Kind kind, out long host)
    {
        host = 0;
        if ((entry & IsCompressed) != 0)
        {
            kind = Kind.Compressed;
            (long offset, _) = CompressedClusters.Locate(entry, _clusterBits);
            return offset >= _clusterSize && offset < _file.Length;
        }

        host = (long)(entry & OffsetMask);
        kind = _header.Version >= 3 && (entry & IsZero) != 0 ? Kind.Zero : host != 0 ? Kind.Data : Kind.Unallocated;
        return host == 0 || ((host & (_clusterSize - 1)) == 0 && host < _file.Length && !_metadata.Contains(host >> _clusterBits));
    }

    // The slice of an L2 table that has a cluster's entry, and where in it; empty where there is no table.
    private bool TryGetSlice(long cluster, out Span<byte> slice, out int index, out int count)
    {
        index = (int)(cluster & (_entriesPerSlice - 1));
        count = _entriesPerSlice;
        slice = default;
        ulong entry = _l1[cluster >> _header.L2Bits];
        long table = (long)(entry & OffsetMask);
        if (table == 0)
        {
            return true;
        }

        if ((table & (_clusterSize - 1)) != 0 || table >= _file.Length)
        {
            return FoundCorrupt();
        }

        long inTable = cluster & ((1L << _header.L2Bits) - 1);
        return _l2.TryGet(table + (inTable / _entriesPerSlice * _l2.SliceSize), out slice);
    }

    private static ulong Entry(ReadOnlySpan<byte> slice, int index) =>
        slice.IsEmpty ? 0 : BinaryPrimitives.ReadUInt64BigEndian(slice[(index * 8)..]);

    // Maps an offset, and finds the length of the run of the same kind. False on an I/O error of the host or an invalid entry.
    private bool TryMap(long offset, long length, out Run run)
    {
        run = default;
        if (_isCorrupt)
        {
            return false;
        }

        long cluster = offset >> _clusterBits;
        if (!TryGetSlice(cluster, out Span<byte> slice, out int index, out int count))
        {
            return false;
        }

        long within = offset & (_clusterSize - 1);
        long most = ((long)(count - index) << _clusterBits) - within;
        if (slice.IsEmpty)
        {
            long inTable = cluster & ((1L << _header.L2Bits) - 1);
            most = (((1L << _header.L2Bits) - inTable) << _clusterBits) - within;
            run = new Run(Kind.Unallocated, 0, Math.Min(length, most), 0, false);
            return true;
        }

        ulong entry = Entry(slice, index);
        if (!TryDecode(entry, out Kind kind, out long host))
        {
            return FoundCorrupt();
        }

        length = Math.Min(length, most);
        long reach = _clusterSize - within;
        while (reach < length && kind != Kind.Compressed)
        {
            ulong next = Entry(slice, ++index);
            if (!TryDecode(next, out Kind other, out long place))
            {
                break; // An invalid entry is reported when its cluster is accessed.
            }

            if (other != kind || ((entry ^ next) & IsCopied) != 0 || (kind == Kind.Data && place != host + within + reach))
            {
                break;
            }

            reach += _clusterSize;
        }

        run = new Run(kind, host + within, Math.Min(length, reach), entry, (entry & IsCopied) != 0);
        return true;
    }

    // Whether what the image does not have reads as zeroes.
    private bool HasNoBacking(long offset) => _backing is null || offset >= _backing.Length;

    // Makes a cluster's L2 table writable: copies it if its refcount is not 1. False on an I/O error of the host.
    private bool TryOwnTable(long cluster)
    {
        int at = (int)(cluster >> _header.L2Bits);
        ulong entry = _l1[at];
        long old = (long)(entry & OffsetMask);
        if (old != 0 && (entry & IsCopied) != 0)
        {
            return true;
        }

        long first = Allocate(1, out _, out bool fresh);
        if (first < 0)
        {
            return false;
        }

        long table = first << _clusterBits;
        _l2.Forget(table, _clusterSize);
        if (!(old == 0 ? fresh || TryWriteZeroes(table, _clusterSize) : TryCopy(old, table)))
        {
            _counts!.Release(first, 1);
            return false;
        }

        _l1[at] = (ulong)table | IsCopied;
        _changedL1.Add(at);
        _metadata.Add(first);
        if (old != 0)
        {
            _metadata.Remove(old >> _clusterBits);
            _dropped.Add(old >> _clusterBits);
        }

        return true;
    }

    private bool TryWriteZeroes(long offset, long length)
    {
        for (; length > 0; offset += s_zeroes.Length, length -= s_zeroes.Length)
        {
            if (!_file.TryWrite(offset, s_zeroes.AsSpan(0, (int)Math.Min(length, s_zeroes.Length))))
            {
                return false;
            }
        }

        return true;
    }

    // A shared table is never dirty: the file has its content.
    private bool TryCopy(long from, long to)
    {
        byte[] table = new byte[_clusterSize];
        return _file.TryRead(from, table.AsSpan(0, (int)Math.Min(_clusterSize, _file.Length - from))) && _file.TryWrite(to, table);
    }

    private long Allocate(int wanted, out int got, out bool fresh)
    {
        got = 0;
        fresh = false;
        if (!TryMarkDirty())
        {
            return -1;
        }

        long first = _counts!.Allocate(wanted, out got, out fresh);
        if (_counts.IsCorrupt)
        {
            FoundCorrupt();
        }

        return first;
    }

    // The cluster of an old entry is freed once the table without the entry is in the file.
    private void Drop(ulong entry)
    {
        if ((entry & IsCompressed) != 0)
        {
            (long first, long last) = CompressedClusters.Clusters(entry, _clusterBits);
            for (long cluster = first; cluster <= last; cluster++)
            {
                _dropped.Add(cluster);
            }
        }
        else if ((entry & OffsetMask) != 0)
        {
            _dropped.Add((long)(entry & OffsetMask) >> _clusterBits);
        }
    }

    private void SetEntry(Span<byte> slice, int index, ulong entry)
    {
        BinaryPrimitives.WriteUInt64BigEndian(slice[(index * 8)..], entry);
        _l2.Touch();
    }
}
