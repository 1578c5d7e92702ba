using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Yadokari.Disks.Qcow2;

/// <summary>
/// The refcounts of an image's clusters, and the cluster allocator (QEMU's docs/interop/qcow2.txt, "Host cluster management"). The caller holds
/// the disk's lock. A refcount in memory, and so in any refcount block that is written, is never less than the number of references in the file:
/// blocks may be written at any time, and after a crash some refcounts are at most too high (leaks).
/// </summary>
internal sealed class Refcounts
{
    private const int CacheBytes = 1 << 20;

    private readonly IImageFile _file;
    private readonly HashSet<long> _metadata;
    private readonly TableCache _cache;
    private readonly int _clusterBits;
    private readonly int _order;
    private readonly long _perBlock;
    private readonly SortedSet<int> _changedEntries = [];
    private readonly List<int> _writing = [];
    private readonly List<long> _left = []; // Clusters of tables that the header may still name.
    private ulong[] _table;
    private long _tableOffset;
    private bool _moved;
    private bool _movedWriting;
    private long _next; // No cluster before this one is free.

    private Refcounts(IImageFile file, Qcow2Header header, HashSet<long> metadata, ulong[] table)
    {
        _file = file;
        _metadata = metadata;
        _clusterBits = header.ClusterBits;
        _order = header.RefcountOrder;
        _perBlock = header.CountsPerBlock;
        _table = table;
        _tableOffset = header.RefcountTableOffset;
        int slice = Math.Min(4096, header.ClusterSize);
        _cache = new TableCache(file, slice, CacheBytes / slice, writesBack: true);
    }

    /// <summary>Whether something was found that can't be in a sound image.</summary>
    public bool IsCorrupt { get; private set; }

    /// <summary>Whether any count or the table itself waits to be written.</summary>
    public bool HasChanged => _cache.Changed > 0 || _changedEntries.Count > 0 || _moved;

    /// <summary>The maximum value of a refcount.</summary>
    public ulong MaxCount => _order == 6 ? ulong.MaxValue : (1UL << (1 << _order)) - 1;

    private long ClusterSize => 1L << _clusterBits;

    /// <summary>Reads the refcount table of an image. Null where that can't be done or makes no sense.</summary>
    /// <param name="file">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="metadata">The clusters that hold metadata: gets the table and its blocks.</param>
    public static Refcounts? Open(IImageFile file, Qcow2Header header, HashSet<long> metadata)
    {
        ulong[]? table = BigEndian.ReadTable(file, header.RefcountTableOffset, header.RefcountTableClusters << (header.ClusterBits - 3));
        if (table is null)
        {
            return null;
        }

        for (int i = 0; i < header.RefcountTableClusters; i++)
        {
            if (!metadata.Add((header.RefcountTableOffset >> header.ClusterBits) + i))
            {
                return null;
            }
        }

        foreach (ulong entry in table)
        {
            if (entry != 0 && ((long)entry < 0 || ((long)entry & (header.ClusterSize - 1)) != 0 || (long)entry >= file.Length || !metadata.Add((long)entry >> header.ClusterBits)))
            {
                return null;
            }
        }

        return new Refcounts(file, header, metadata, table);
    }

    /// <summary>Allocates contiguous free clusters, and extends the file to hold them.</summary>
    /// <param name="wanted">How many at most.</param>
    /// <param name="got">How many.</param>
    /// <param name="fresh">Whether they are known to be zeroes.</param>
    /// <returns>The first, or -1 where the host can't.</returns>
    public long Allocate(int wanted, out int got, out bool fresh)
    {
        got = 0;
        fresh = false;
        long first;
        while (true)
        {
            if (!TryHaveBlock(_next) || !TryGetSlice(_next, out Span<byte> slice, out int index, out int count))
            {
                return -1;
            }

            int found = FindFree(slice, index, count);
            first = _next + found - index;
            if (found == count)
            {
                _next = first;
                continue;
            }

            for (; got < wanted && found + got < count && Read(slice, found + got, _order) == 0; got++)
            {
                if (_metadata.Contains(first + got))
                {
                    IsCorrupt = true;
                    Release(first, got);
                    return -1;
                }

                Write(slice, found + got, _order, 1);
                _cache.Touch();
            }

            break;
        }

        _next = first + got;
        fresh = first << _clusterBits >= _file.Length;
        if (_next << _clusterBits > _file.Length && !_file.TrySetLength(_next << _clusterBits))
        {
            Release(first, got);
            return -1;
        }

        return first;
    }

    /// <summary>Frees clusters that nothing in the file has ever referred to.</summary>
    public void Release(long first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            _ = TrySet(first + i, 0);
        }

        _next = Math.Min(_next, first);
    }

    /// <summary>Increments the refcount of a cluster. False on an I/O error of the host, or if it would overflow.</summary>
    public bool TryIncrement(long cluster) => TryGet(cluster, out ulong count) && count < MaxCount && count > 0 && TrySet(cluster, count + 1);

    /// <summary>
    /// Decrements the refcounts of clusters, once for each time that they are in the list. A refcount that the host can't read stays
    /// too high.
    /// </summary>
    public void Free(List<long> clusters)
    {
        clusters.Sort();
        long start = -1;
        long end = -1;
        foreach (long cluster in clusters)
        {
            if (!TryGet(cluster, out ulong count))
            {
                continue;
            }

            if (count == 0)
            {
                IsCorrupt = true;
                continue;
            }

            if (!TrySet(cluster, count - 1) || count > 1)
            {
                continue;
            }

            _next = Math.Min(_next, cluster);
            if (cluster != end)
            {
                Punch(start, end);
                start = cluster;
            }

            end = cluster + 1;
        }

        Punch(start, end);
    }

    /// <summary>Copies the counts that have changed, and what of the table has.</summary>
    /// <param name="counts">Gets what nothing in the file refers to yet.</param>
    /// <param name="table">Gets what refers to it.</param>
    /// <param name="left">Gets the clusters that are free once both are in the file.</param>
    public void BeginWriting(MetadataWrites counts, MetadataWrites table, List<long> left)
    {
        _cache.BeginWriting(counts);
        if (_moved)
        {
            byte[] bytes = new byte[_table.Length * 8];
            BigEndian.Write(_table, bytes);
            counts.Add(_tableOffset, bytes);
            Span<byte> field = stackalloc byte[12];
            BinaryPrimitives.WriteInt64BigEndian(field, _tableOffset);
            BinaryPrimitives.WriteInt32BigEndian(field[8..], (int)(_table.Length * 8L >> _clusterBits));
            table.Add(Qcow2Header.RefcountTableField, field);
            left.AddRange(_left);
        }
        else
        {
            Span<byte> entry = stackalloc byte[8];
            foreach (int i in _changedEntries)
            {
                BinaryPrimitives.WriteUInt64BigEndian(entry, _table[i]);
                table.Add(_tableOffset + (i * 8L), entry);
            }

            _writing.AddRange(_changedEntries);
        }

        _left.Clear();
        _movedWriting = _moved;
        _moved = false;
        _changedEntries.Clear();
    }

    /// <summary>What was copied is in the file, or may not be and is to be written again.</summary>
    public void EndWriting(bool written)
    {
        _cache.EndWriting(written);
        if (!written)
        {
            _moved |= _movedWriting;
            _changedEntries.UnionWith(_writing);
        }

        _writing.Clear();
        _movedWriting = false;
    }

    /// <summary>How often a cluster is referred to.</summary>
    public bool TryGet(long cluster, out ulong count)
    {
        count = 0;
        if (cluster / _perBlock >= _table.Length || _table[cluster / _perBlock] == 0)
        {
            return true;
        }

        if (!TryGetSlice(cluster, out Span<byte> slice, out int index, out _))
        {
            return false;
        }

        count = Read(slice, index, _order);
        return true;
    }

    /// <summary>A count within a block or a part of one.</summary>
    public static ulong Read(ReadOnlySpan<byte> counts, int index, int order) => order switch
    {
        0 => (ulong)(counts[index >> 3] >> (index & 7)) & 1,
        1 => (ulong)(counts[index >> 2] >> ((index & 3) * 2)) & 3,
        2 => (ulong)(counts[index >> 1] >> ((index & 1) * 4)) & 15,
        3 => counts[index],
        4 => BinaryPrimitives.ReadUInt16BigEndian(counts[(index * 2)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(counts[(index * 4)..]),
        _ => BinaryPrimitives.ReadUInt64BigEndian(counts[(index * 8)..]),
    };

    /// <summary>Sets a count within a block or a part of one.</summary>
    public static void Write(Span<byte> counts, int index, int order, ulong value)
    {
        switch (order)
        {
            case < 3:
                int width = 1 << order;
                int shift = (index << order) & 7;
                ref byte b = ref counts[index << order >> 3];
                b = (byte)((b & ~(((1 << width) - 1) << shift)) | ((int)value << shift));
                break;
            case 3:
                counts[index] = (byte)value;
                break;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(counts[(index * 2)..], (ushort)value);
                break;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(counts[(index * 4)..], (uint)value);
                break;
            default:
                BinaryPrimitives.WriteUInt64BigEndian(counts[(index * 8)..], value);
                break;
        }
    }

    private bool TrySet(long cluster, ulong count)
    {
        if (!TryGetSlice(cluster, out Span<byte> slice, out int index, out _))
        {
            return false;
        }

        Write(slice, index, _order, count);
        _cache.Touch();
        return true;
    }

    // The slice of the block that has a cluster's count, and where in it.
    private bool TryGetSlice(long cluster, out Span<byte> slice, out int index, out int count)
    {
        count = (int)((long)_cache.SliceSize * 8 >> _order);
        long inBlock = cluster % _perBlock;
        index = (int)(inBlock % count);
        return _cache.TryGet((long)_table[cluster / _perBlock] + (inBlock / count * _cache.SliceSize), out slice);
    }

    private int FindFree(ReadOnlySpan<byte> slice, int index, int count)
    {
        if (_order == 4)
        {
            int found = MemoryMarshal.Cast<byte, ushort>(slice)[index..].IndexOf((ushort)0);
            return found < 0 ? count : index + found;
        }

        while (index < count && Read(slice, index, _order) != 0)
        {
            index++;
        }

        return index;
    }

    // A block for the counts around a cluster before which none is free: where there is none, the cluster becomes it.
    private bool TryHaveBlock(long cluster)
    {
        int at = (int)Math.Min(cluster / _perBlock, int.MaxValue);
        if (at >= _table.Length && !TryGrow(at))
        {
            return false;
        }

        if (_table[at] != 0)
        {
            return true;
        }

        long offset = cluster << _clusterBits;
        if (_metadata.Contains(cluster))
        {
            IsCorrupt = true;
            return false;
        }

        if (offset < _file.Length && !TryClear(offset))
        {
            return false;
        }

        if (offset + ClusterSize > _file.Length && !_file.TrySetLength(offset + ClusterSize))
        {
            return false;
        }

        _cache.Forget(offset, ClusterSize);
        _table[at] = (ulong)offset;
        if (!TrySet(cluster, 1))
        {
            _table[at] = 0;
            return false;
        }

        _changedEntries.Add(at);
        _metadata.Add(cluster);
        return true;
    }

    // A longer table at the end of the file, and behind it the blocks for what it and they take.
    private bool TryGrow(int needed)
    {
        long start = Math.Max((_file.Length + ClusterSize - 1) >> _clusterBits, _next);
        long entries = Math.Max(needed + 1, _table.Length * 3L / 2);
        long tableClusters;
        long blocks;
        long end;
        while (true)
        {
            tableClusters = ((entries * 8) + ClusterSize - 1) >> _clusterBits;
            entries = tableClusters << (_clusterBits - 3);
            blocks = 0;
            while (true)
            {
                end = start + tableClusters + blocks;
                long missing = 0;
                for (long i = start / _perBlock; i <= (end - 1) / _perBlock; i++)
                {
                    missing += i >= _table.Length || _table[i] == 0 ? 1 : 0;
                }

                if (missing <= blocks)
                {
                    break;
                }

                blocks = missing;
            }

            if ((end - 1) / _perBlock < entries)
            {
                break;
            }

            entries = ((end - 1) / _perBlock) + 1;
        }

        if (tableClusters << _clusterBits > Qcow2Header.MaxRefcountTableBytes || !_file.TrySetLength(end << _clusterBits))
        {
            return false;
        }

        ulong[] old = _table;
        _table = new ulong[entries];
        old.CopyTo(_table, 0);
        long block = start + tableClusters;
        for (long i = start / _perBlock; i <= (end - 1) / _perBlock && block < end; i++)
        {
            if (_table[i] == 0)
            {
                _cache.Forget(block << _clusterBits, ClusterSize);
                _table[i] = (ulong)(block++ << _clusterBits);
            }
        }

        for (long cluster = start; cluster < end; cluster++)
        {
            if (!TrySet(cluster, 1))
            {
                _table = old;
                return false;
            }
        }

        long oldClusters = old.Length * 8L >> _clusterBits;
        for (long i = 0; i < oldClusters; i++)
        {
            _metadata.Remove((_tableOffset >> _clusterBits) + i);
            _left.Add((_tableOffset >> _clusterBits) + i);
        }

        for (long cluster = start; cluster < end; cluster++)
        {
            _metadata.Add(cluster);
        }

        _tableOffset = start << _clusterBits;
        _moved = true;
        return true;
    }

    private bool TryClear(long offset)
    {
        ReadOnlySpan<byte> zeroes = Qcow2Disk.Zeroes;
        for (long end = offset + ClusterSize; offset < end; offset += zeroes.Length)
        {
            if (!_file.TryWrite(offset, zeroes[..(int)Math.Min(zeroes.Length, end - offset)]))
            {
                return false;
            }
        }

        return true;
    }

    private void Punch(long start, long end)
    {
        if (end > start)
        {
            _ = _file.TryPunch(start << _clusterBits, (end - start) << _clusterBits);
        }
    }
}
