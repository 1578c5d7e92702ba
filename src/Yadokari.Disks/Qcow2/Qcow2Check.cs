using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core;

namespace Yadokari.Disks.Qcow2;

/// <summary>
/// Compares the refcounts of an image with the references to its clusters, and rebuilds them. Reads the tables in the file, however corrupt;
/// never used on an image that is open as a disk.
/// </summary>
internal sealed class Qcow2Check
{
    private const int MaxMessages = 20;

    private readonly string _path;
    private readonly IImageFile _file;
    private readonly Qcow2Header _header;
    private readonly References _references = new();
    private readonly List<(long Table, int Index, ulong Entry)> _flags = []; // Entries of active tables whose IsCopied is wrong.
    private readonly HashSet<long> _tables = []; // L2 tables whose own clusters were looked at.
    private readonly HashSet<long> _old = []; // Clusters of the refcount table and its blocks.
    private readonly Dictionary<long, ulong> _wrong = []; // Counts that are not what they should be.
    private ulong[] _refcountTable = [];

    private Qcow2Check(string path, IImageFile file, Qcow2Header header)
    {
        _path = path;
        _file = file;
        _header = header;
    }

    /// <summary>Clusters whose refcount is too high (leaks): only disk space is lost.</summary>
    public long Leaks { get; private set; }

    /// <summary>Refcounts that are too low, wrong COPIED flags.</summary>
    public long Errors { get; private set; }

    /// <summary>Errors that rebuilding refcounts does not repair: invalid entries.</summary>
    public long Unrepairable { get; private set; }

    /// <summary>Clusters of the disk that are allocated in the image.</summary>
    public long Allocated { get; private set; }

    /// <summary>Those of them that are compressed.</summary>
    public long Compressed { get; private set; }

    /// <summary>Bytes of the file that are in use.</summary>
    public long End => _references.End << _header.ClusterBits;

    /// <summary>The first few of the findings.</summary>
    public List<string> Messages { get; } = [];

    /// <summary>Whether the header says that something is wrong.</summary>
    public bool IsMarked => (_header.Incompatible & (Qcow2Header.Dirty | Qcow2Header.Corrupt)) != 0;

    /// <summary>Whether nothing is wrong.</summary>
    public bool IsSound => Errors + Leaks + Unrepairable == 0;

    /// <summary>What was found.</summary>
    public DiskCheck Result => new(Errors + Unrepairable, Leaks, Allocated, Compressed, End, Messages);

    private int Bits => _header.ClusterBits;

    /// <summary>Checks an image.</summary>
    /// <exception cref="UserErrorException">It can't be read.</exception>
    public static Qcow2Check Run(string path, IImageFile file, Qcow2Header header)
    {
        var check = new Qcow2Check(path, file, header);
        check.Count();
        check.Compare();
        return check;
    }

    /// <summary>
    /// Writes a new refcount table and blocks beside the old ones, and corrects the COPIED flags; clears the dirty and corrupt bits if no error is left.
    /// False on an I/O error of the host, or if a refcount does not fit; the image is unchanged then.
    /// </summary>
    public bool TryRepair()
    {
        ulong most = _header.RefcountOrder == 6 ? ulong.MaxValue : (1UL << (1 << _header.RefcountOrder)) - 1;
        if (_references.All.Any(reference => reference.Count > most))
        {
            return false;
        }

        // Counts of clusters that the new table and its blocks take, which lie behind everything that is used, also by the old ones.
        long size = _header.ClusterSize;
        long start = Math.Max(_references.End, (_header.RefcountTableOffset >> Bits) + _header.RefcountTableClusters);
        start = Math.Max(start, _refcountTable.Where(IsBlock).Select(block => ((long)block >> Bits) + 1).DefaultIfEmpty().Max());
        var places = new SortedSet<long>(_references.All.Where(r => !IsCountedAway(r.Cluster)).Select(r => r.Cluster / _header.CountsPerBlock));
        long tableClusters;
        while (true)
        {
            long entries = Math.Max(places.Max, (start + places.Count + 1) / _header.CountsPerBlock) + 1;
            tableClusters = ((entries * 8) + size - 1) >> Bits;
            int before = places.Count;
            for (long i = start; i < start + tableClusters + places.Count; i++)
            {
                places.Add(i / _header.CountsPerBlock);
            }

            if (places.Count == before && places.Max < tableClusters * size / 8)
            {
                break;
            }
        }

        if (tableClusters * size > Qcow2Header.MaxRefcountTableBytes)
        {
            return false;
        }

        long end = start + tableClusters + places.Count;
        if (_file.Length < end << Bits && !_file.TrySetLength(end << Bits))
        {
            return false;
        }

        ulong[] table = new ulong[tableClusters * size / 8];
        byte[] bytes = new byte[size];
        long at = start + tableClusters;
        foreach (long place in places)
        {
            Array.Clear(bytes);
            for (int i = 0; i < _header.CountsPerBlock; i++)
            {
                long cluster = (place * _header.CountsPerBlock) + i;
                ulong count = (IsCountedAway(cluster) ? 0 : _references[cluster]) + (cluster >= start && cluster < end ? 1u : 0);
                Refcounts.Write(bytes, i, _header.RefcountOrder, count);
            }

            table[place] = (ulong)(at << Bits);
            if (!_file.TryWrite(at++ << Bits, bytes))
            {
                return false;
            }
        }

        byte[] tableBytes = new byte[tableClusters * size];
        BigEndian.Write(table, tableBytes);
        if (!_file.TryWrite(start << Bits, tableBytes) || !_file.TryFlush())
        {
            return false;
        }

        // From the table's place to the features, at once: either both are there or none.
        Span<byte> fields = stackalloc byte[Qcow2Header.IncompatibleField + 8 - Qcow2Header.RefcountTableField];
        if (!_file.TryRead(Qcow2Header.RefcountTableField, fields))
        {
            return false;
        }

        BinaryPrimitives.WriteInt64BigEndian(fields, start << Bits);
        BinaryPrimitives.WriteInt32BigEndian(fields[8..], (int)tableClusters);
        ulong marks = Unrepairable == 0 ? Qcow2Header.Dirty | Qcow2Header.Corrupt : Qcow2Header.Dirty;
        if (_header.Version >= 3)
        {
            BinaryPrimitives.WriteUInt64BigEndian(fields[(Qcow2Header.IncompatibleField - Qcow2Header.RefcountTableField)..], _header.Incompatible & ~marks);
        }

        return TryFixFlags() && _file.TryFlush() && _file.TryWrite(Qcow2Header.RefcountTableField, _header.Version >= 3 ? fields : fields[..12]) && _file.TryFlush();
    }

    private bool TryFixFlags()
    {
        Span<byte> bytes = stackalloc byte[8];
        foreach ((long table, int index, ulong entry) in _flags)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes, entry);
            if (!_file.TryWrite(table + (index * 8L), bytes))
            {
                return false;
            }
        }

        return true;
    }

    // The old counts' own clusters are free once there are new ones; one that something else refers to as well stays.
    private bool IsCountedAway(long cluster) => _old.Contains(cluster) && _references[cluster] == 1;

    private bool IsBlock(ulong entry) => (long)entry > 0 && ((long)entry & (_header.ClusterSize - 1)) == 0 && (long)entry < _file.Length;

    private void Count()
    {
        _references.Add(0);
        ulong[] l1 = Table(_header.L1Offset, _header.L1Entries);
        AddRange(_header.L1Offset, _header.L1Entries * 8L);
        CountTables("the L1 table", _header.L1Offset, l1, active: true);
        IReadOnlyList<Qcow2Snapshot> snapshots = Qcow2Snapshot.ReadAll(_path, _file, _header, out long tableLength);
        foreach (Qcow2Snapshot snapshot in snapshots)
        {
            AddRange(snapshot.L1Offset, snapshot.L1Entries * 8L);
            CountTables($"the L1 table of snapshot '{snapshot.Name}'", snapshot.L1Offset, Table(snapshot.L1Offset, snapshot.L1Entries), active: false);
        }

        AddRange(_header.SnapshotsOffset, _header.SnapshotCount > 0 ? tableLength : 0);
        CountBitmaps();

        _refcountTable = Table(_header.RefcountTableOffset, _header.RefcountTableClusters << (Bits - 3));
        AddRange(_header.RefcountTableOffset, (long)_header.RefcountTableClusters << Bits);
        for (long i = 0; i < _header.RefcountTableClusters; i++)
        {
            _old.Add((_header.RefcountTableOffset >> Bits) + i);
        }

        for (int i = 0; i < _refcountTable.Length; i++)
        {
            ulong entry = _refcountTable[i];
            if (entry == 0)
            {
                continue;
            }

            if (!IsBlock(entry))
            {
                Errors++; // Repairing writes another.
                Say($"the refcount table's entry {i} refers to {entry:x}");
                continue;
            }

            _references.Add((long)entry >> Bits);
            _old.Add((long)entry >> Bits);
        }
    }

    private void CountTables(string what, long at, ulong[] l1, bool active)
    {
        for (int i = 0; i < l1.Length; i++)
        {
            long offset = (long)(l1[i] & Qcow2Disk.OffsetMask);
            if (offset == 0)
            {
                continue;
            }

            if ((offset & (_header.ClusterSize - 1)) != 0 || offset >= _file.Length)
            {
                Unrepairable++;
                Say($"{what}'s entry {i} refers to {offset:x}");
                continue;
            }

            _references.Add(offset >> Bits);
            bool first = _tables.Add(offset);
            ulong[] l2 = Table(offset, _header.ClusterSize / 8);
            for (int j = 0; j < l2.Length; j++)
            {
                CountCluster(l2[j], $"the L2 table at {offset:x}'s entry {j}", active, first);
            }
        }
    }

    private void CountCluster(ulong entry, string what, bool active, bool first)
    {
        if ((entry & Qcow2Disk.IsCompressed) != 0)
        {
            (long offset, int length) = CompressedClusters.Locate(entry, Bits);
            if (offset < _header.ClusterSize || offset >= _file.Length)
            {
                Wrong(entry);
                return;
            }

            (long from, long to) = CompressedClusters.Clusters(entry, Bits);
            to = Math.Min(to, (_file.Length - 1) >> Bits);
            _references.Add(from, to - from + 1);
            Allocated += active ? 1 : 0;
            Compressed += active ? 1 : 0;
            return;
        }

        long host = (long)(entry & Qcow2Disk.OffsetMask);
        if (host == 0)
        {
            return;
        }

        if ((host & (_header.ClusterSize - 1)) != 0 || host >= _file.Length)
        {
            Wrong(entry);
            return;
        }

        _references.Add(host >> Bits);
        Allocated += active ? 1 : 0;

        void Wrong(ulong entry)
        {
            if (first)
            {
                Unrepairable++;
                Say($"{what} refers to {entry & Qcow2Disk.OffsetMask:x}");
            }
        }
    }

    // The directory of bitmaps, their tables, their data (QEMU's docs/interop/qcow2.txt, "Bitmaps"); inconsistent ones are nothing.
    private void CountBitmaps()
    {
        if (_header.BitmapsOffset == 0 || (_header.Autoclear & Qcow2Header.Bitmaps) == 0)
        {
            return;
        }

        if (_header.BitmapsSize is < 0 or > 64 << 20 || _header.BitmapsOffset < 0 || _header.BitmapsOffset > _file.Length - _header.BitmapsSize)
        {
            Unrepairable++;
            Say("the directory of bitmaps lies outside of the file");
            return;
        }

        byte[] directory = new byte[_header.BitmapsSize];
        if (!_file.TryRead(_header.BitmapsOffset, directory))
        {
            throw Unreadable();
        }

        AddRange(_header.BitmapsOffset, directory.Length);
        for (int at = 0; at <= directory.Length - 24;)
        {
            long table = BinaryPrimitives.ReadInt64BigEndian(directory.AsSpan(at));
            uint entries = BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + 8));
            int name = BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(at + 18));
            uint extra = BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + 20));
            at = (int)Math.Min(((long)at + 24 + extra + name + 7) & ~7L, directory.Length);
            if (table < _header.ClusterSize || (table & (_header.ClusterSize - 1)) != 0 || entries > 8 << 20 || table > _file.Length - (entries * 8L))
            {
                Unrepairable++;
                Say($"a bitmap's table is at {table:x}");
                continue;
            }

            AddRange(table, entries * 8L);
            foreach (ulong entry in Table(table, (int)entries))
            {
                long offset = (long)(entry & Qcow2Disk.OffsetMask);
                if (offset != 0 && (offset & (_header.ClusterSize - 1)) == 0 && offset < _file.Length)
                {
                    _references.Add(offset >> Bits);
                }
            }
        }
    }

    private void Compare()
    {
        long per = _header.CountsPerBlock;
        var covered = new HashSet<long>();
        byte[] bytes = new byte[_header.ClusterSize];
        for (int i = 0; i < _refcountTable.Length; i++)
        {
            if (!IsBlock(_refcountTable[i]))
            {
                continue;
            }

            covered.Add(i);
            ReadBlock((long)_refcountTable[i], bytes);
            for (int j = 0; j < per; j++)
            {
                Compare((i * per) + j, Refcounts.Read(bytes, j, _header.RefcountOrder));
            }
        }

        foreach ((long cluster, uint _) in _references.All.Where(r => !covered.Contains(r.Cluster / per)))
        {
            Compare(cluster, 0);
        }

        CompareFlags(_header.L1Offset, Table(_header.L1Offset, _header.L1Entries), isL1: true);
    }

    private void Compare(long cluster, ulong count)
    {
        uint references = _references[cluster];
        if (count == references || (references == 0 && cluster << Bits >= _file.Length))
        {
            return; // Clusters that the file does not reach are no loss.
        }

        _wrong[cluster] = count;
        if (count > references)
        {
            Leaks++;
        }
        else
        {
            Errors++;
        }

        Say($"cluster {cluster:x} has the count {count} and {references} references");
    }

    private void CompareFlags(long table, ulong[] entries, bool isL1)
    {
        for (int i = 0; i < entries.Length; i++)
        {
            ulong entry = entries[i];
            long offset = (long)(entry & Qcow2Disk.OffsetMask);
            bool compressed = !isL1 && (entry & Qcow2Disk.IsCompressed) != 0;
            if (compressed ? (entry & Qcow2Disk.IsCopied) == 0 : offset == 0 || (offset & (_header.ClusterSize - 1)) != 0 || offset >= _file.Length)
            {
                continue;
            }

            // Compressed clusters never have the flag.
            ulong right = !compressed && _references[offset >> Bits] == 1 ? entry | Qcow2Disk.IsCopied : entry & ~Qcow2Disk.IsCopied;
            if (right != entry)
            {
                _flags.Add((table, i, right));
            }

            // Writers rely on the flag, so a flag that contradicts even a wrong refcount is an error.
            bool alone = !compressed && (_wrong.TryGetValue(offset >> Bits, out ulong count) ? count : _references[offset >> Bits]) == 1;
            if (alone != ((entry & Qcow2Disk.IsCopied) != 0))
            {
                Errors++;
                Say($"entry {i} of the table at {table:x} says wrongly whether its cluster is shared");
            }

            if (isL1 && _references[offset >> Bits] > 0 && _tables.Remove(offset))
            {
                CompareFlags(offset, Table(offset, _header.ClusterSize / 8), isL1: false);
            }
        }
    }

    private void ReadBlock(long offset, byte[] bytes)
    {
        int there = (int)Math.Min(bytes.Length, _file.Length - offset);
        bytes.AsSpan(there).Clear();
        if (!_file.TryRead(offset, bytes.AsSpan(0, there)))
        {
            throw Unreadable();
        }
    }

    private ulong[] Table(long offset, int entries)
    {
        byte[] bytes = new byte[entries * 8];
        ReadBlock(offset, bytes);
        ulong[] table = new ulong[entries];
        BinaryPrimitives.ReverseEndianness(MemoryMarshal.Cast<byte, ulong>(bytes), table);
        return table;
    }

    private void AddRange(long offset, long length)
    {
        if (length > 0)
        {
            _references.Add(offset >> Bits, ((offset + length - 1) >> Bits) - (offset >> Bits) + 1);
        }
    }

    private void Say(string what)
    {
        if (Messages.Count < MaxMessages)
        {
            Messages.Add(what);
        }
    }

    private UserErrorException Unreadable() => new($"The qcow2 image '{_path}' can't be read: check the host's disk.");
}
