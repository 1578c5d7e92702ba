using System.Buffers.Binary;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;

namespace Yadokari.Disks.Qcow2;

/// <summary>
/// A qcow2 image of version 2 or 3 (QEMU's docs/interop/qcow2.txt) with its chain of backing files. Data of clusters with refcount 1 is transferred
/// between the file and guest memory without a lock, by any number of threads; tables are read and changed under a lock, in memory, and written to
/// the file in a commit, whose order keeps the image consistent at any moment: data and refcounts first, then the tables that refer to them, and
/// only then are clusters freed that are no longer referenced.
/// </summary>
internal sealed partial class Qcow2Disk : IDisk, ISparse, IExtentDisk
{
    /// <summary>QCOW_OFLAG_COPIED, in an entry of an L1 or L2 table: the refcount is exactly 1.</summary>
    internal const ulong IsCopied = 1UL << 63;

    /// <summary>QCOW_OFLAG_COMPRESSED, in an entry of an L2 table: the cluster is compressed.</summary>
    internal const ulong IsCompressed = 1UL << 62;

    /// <summary>QCOW_OFLAG_ZERO, in an entry of an L2 table of version 3: the cluster reads as zeroes.</summary>
    internal const ulong IsZero = 1;

    /// <summary>Mask of the host offset in an entry.</summary>
    internal const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;

    private const int L2CacheBytes = 4 << 20;

    private static readonly byte[] s_zeroes = new byte[64 << 10];

    private readonly IImageFile _file;
    private readonly IDisk? _backing;
    private readonly Qcow2Header _header;
    private readonly int _clusterBits;
    private readonly long _clusterSize;
    private readonly int _entriesPerSlice;
    private readonly CompressedClusters _compressed;

    private readonly object _sync = new(); // Lock order: after _commit. Guards everything below but the counters of _inFlight.
    private readonly ulong[] _l1;
    private readonly TableCache _l2;
    private readonly HashSet<long> _metadata;
    private readonly Refcounts? _counts; // Null in an image that is only read.
    private ulong _incompatible;
    private volatile bool _isCorrupt;
    private bool _disposed;

    private Qcow2Disk(string path, IImageFile file, Qcow2Header header, IDisk? backing, ulong[] l1, HashSet<long> metadata, Refcounts? counts)
    {
        Path = path;
        _file = file;
        _header = header;
        _backing = backing;
        _l1 = l1;
        _metadata = metadata;
        _counts = counts;
        _clusterBits = header.ClusterBits;
        _clusterSize = header.ClusterSize;
        _incompatible = header.Incompatible;
        int slice = Math.Min(4096, header.ClusterSize);
        _entriesPerSlice = slice / 8;
        _l2 = new TableCache(file, slice, L2CacheBytes / slice, writesBack: false);
        _compressed = new CompressedClusters(header.ClusterBits, header.Compression);
    }

    /// <inheritdoc/>
    public string Path { get; }

    /// <inheritdoc/>
    public long Length => _header.Size;

    /// <inheritdoc/>
    public bool ReadOnly => _counts is null;

    /// <summary>What it says of itself.</summary>
    internal Qcow2Header Header => _header;

    /// <summary>Zeroes to write.</summary>
    internal static ReadOnlySpan<byte> Zeroes => s_zeroes;

    /// <summary>Opens an image whose backing file is open.</summary>
    /// <param name="path">Its name in messages.</param>
    /// <param name="file">The image; belongs to the disk when this returns, and not when it throws.</param>
    /// <param name="readOnly">Not to be written.</param>
    /// <param name="backing">The backing file, if it has one; as <paramref name="file"/>.</param>
    /// <exception cref="UserErrorException">It can't be used.</exception>
    public static Qcow2Disk Open(string path, IImageFile file, bool readOnly, IDisk? backing)
    {
        Qcow2Header header = Qcow2Header.Read(path, file);
        IReadOnlyList<Qcow2Snapshot> snapshots = Qcow2Snapshot.ReadAll(path, file, header, out long snapshotTable);
        if (!readOnly)
        {
            header = Prepare(path, file, header);
        }

        ulong[] l1 = BigEndian.ReadTable(file, header.L1Offset, header.L1Entries) ?? throw Qcow2Header.Broken(path, "its L1 table can't be read");
        var metadata = new HashSet<long> { 0 };
        bool overlaps = !Claim(metadata, header.L1Offset, header.L1Entries * 8L, header.ClusterBits);
        foreach (ulong entry in l1)
        {
            long offset = (long)(entry & OffsetMask);
            overlaps |= offset != 0 && !metadata.Add(offset >> header.ClusterBits);
        }

        Refcounts? counts = null;
        if (!readOnly)
        {
            overlaps |= snapshotTable > 0 && !Claim(metadata, header.SnapshotsOffset, snapshotTable, header.ClusterBits);
            foreach (Qcow2Snapshot snapshot in snapshots)
            {
                _ = Claim(metadata, snapshot.L1Offset, snapshot.L1Entries * 8L, header.ClusterBits);
            }

            counts = overlaps ? null : Refcounts.Open(file, header, metadata);
            if (counts is null)
            {
                throw Qcow2Header.Broken(path, "its tables overlap or lie outside of the file");
            }
        }

        return new Qcow2Disk(path, file, header, backing, l1, metadata, counts);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!ReadOnly)
        {
            Close();
        }

        _file.Dispose();
        _backing?.Dispose();
    }

    // What is to be done before an image is written: its counts are right, and nothing says what will not be true any more.
    private static Qcow2Header Prepare(string path, IImageFile file, Qcow2Header header)
    {
        if ((header.Incompatible & Qcow2Header.Corrupt) != 0)
        {
            throw new UserErrorException($"The qcow2 image '{path}' is marked as corrupt and can't be written: repair it with 'yado disk check --repair', or open it with ro.");
        }

        if ((header.Incompatible & Qcow2Header.Dirty) != 0)
        {
            var check = Qcow2Check.Run(path, file, header);
            if (check.Unrepairable > 0 || !check.TryRepair())
            {
                throw Qcow2Header.Broken(path, "it was not closed, and its reference counts can't be made right");
            }

            header = Qcow2Header.Read(path, file);
        }

        if (header.Autoclear != 0)
        {
            if (!file.TryWrite(Qcow2Header.AutoclearField, s_zeroes.AsSpan(0, 8)) || !file.TryFlush())
            {
                throw new UserErrorException($"The qcow2 image '{path}' can't be written: check the host's disk.");
            }

            header = header with { Autoclear = 0 };
        }

        return header;
    }

    private static bool Claim(HashSet<long> metadata, long offset, long length, int clusterBits)
    {
        bool free = true;
        for (long cluster = offset >> clusterBits; cluster <= (offset + length - 1) >> clusterBits; cluster++)
        {
            free &= metadata.Add(cluster);
        }

        return free;
    }

    // Corruption was found: sets the corrupt bit, and fails further requests, so that no invalid metadata is used.
    private bool FoundCorrupt()
    {
        if (ReadOnly || _isCorrupt)
        {
            return false;
        }

        _isCorrupt = true;
        if (_header.Version >= 3)
        {
            WriteIncompatible(_incompatible | Qcow2Header.Corrupt);
        }

        return false;
    }

    private bool WriteIncompatible(ulong features)
    {
        Span<byte> field = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(field, features);
        if (!_file.TryWrite(Qcow2Header.IncompatibleField, field) || !_file.TryFlush())
        {
            return false;
        }

        _incompatible = features;
        return true;
    }
}
