using System.Buffers.Binary;
using System.Text;
using Yadokari.Core;

namespace Yadokari.Disks.Qcow2;

/// <summary>The header of a qcow2 image (QEMU's docs/interop/qcow2.txt, "Header", "Header extensions"), checked: what it says lies within the file.</summary>
internal sealed record Qcow2Header
{
    /// <summary>Dirty bit, incompatible feature 0: refcounts may be inconsistent.</summary>
    public const ulong Dirty = 1;

    /// <summary>Corrupt bit, incompatible feature 1: the image must not be written.</summary>
    public const ulong Corrupt = 2;

    /// <summary>Compression type bit, incompatible feature 3: the header has a compression_type.</summary>
    public const ulong OtherCompression = 8;

    /// <summary>Lazy refcounts bit, compatible feature 0: refcount updates may be delayed.</summary>
    public const ulong LazyRefcounts = 1;

    /// <summary>Bitmaps are consistent: autoclear feature 0.</summary>
    public const ulong Bitmaps = 1;

    /// <summary>Where the place and size of the refcount table are, in 12 bytes.</summary>
    public const int RefcountTableField = 48;

    /// <summary>Where the incompatible features are, in 8 bytes.</summary>
    public const int IncompatibleField = 72;

    /// <summary>Where the autoclear features are, in 8 bytes.</summary>
    public const int AutoclearField = 88;

    /// <summary>The most that the L1 table may have, as in QEMU.</summary>
    public const int MaxL1Bytes = 32 << 20;

    /// <summary>The most that the refcount table may have, as in QEMU.</summary>
    public const int MaxRefcountTableBytes = 8 << 20;

    /// <summary>Bytes of the header that version 2 has.</summary>
    public const int Version2Length = 72;

    /// <summary>Bytes of a header with a compression type.</summary>
    public const int FullLength = 112;

    /// <summary>What a bit means that this program does not know, for a sentence.</summary>
    private static readonly Dictionary<int, string> s_unsupported = new() { [2] = "external data file", [4] = "extended L2 entries" };

    private const uint EndOfExtensions = 0;
    private const uint BackingFormatExtension = 0xE279_2ACA;
    private const uint FeatureNamesExtension = 0x6803_F857;
    private const uint BitmapsExtension = 0x2385_2875;
    private const int MaxBackingName = 1023;
    private const int FeatureNameSize = 48;

    /// <summary>2 or 3.</summary>
    public int Version { get; init; } = 3;

    /// <summary>The name of the backing file as it is written in the image, or null.</summary>
    public string? BackingName { get; init; }

    /// <summary>The format of the backing file, or null where the image does not say.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>Binary logarithm of the cluster size.</summary>
    public int ClusterBits { get; init; } = 16;

    /// <summary>Bytes of the disk.</summary>
    public long Size { get; init; }

    /// <summary>Entries of the active L1 table.</summary>
    public int L1Entries { get; init; }

    /// <summary>Where it is.</summary>
    public long L1Offset { get; init; }

    /// <summary>Where the refcount table is.</summary>
    public long RefcountTableOffset { get; init; }

    /// <summary>How many clusters it has.</summary>
    public int RefcountTableClusters { get; init; }

    /// <summary>How many snapshots there are.</summary>
    public int SnapshotCount { get; init; }

    /// <summary>Where their table is.</summary>
    public long SnapshotsOffset { get; init; }

    /// <summary>Incompatible features: a reader has to support all of them.</summary>
    public ulong Incompatible { get; init; }

    /// <summary>Compatible features, which may be ignored.</summary>
    public ulong Compatible { get; init; }

    /// <summary>Autoclear features: a writer that does not support one clears its bit.</summary>
    public ulong Autoclear { get; init; }

    /// <summary>Logarithm of the bits of a reference count.</summary>
    public int RefcountOrder { get; init; } = 4;

    /// <summary>How clusters are compressed.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>Where the directory of bitmaps is, or 0.</summary>
    public long BitmapsOffset { get; init; }

    /// <summary>Bytes of that directory.</summary>
    public long BitmapsSize { get; init; }

    /// <summary>Cluster size in bytes.</summary>
    public int ClusterSize => 1 << ClusterBits;

    /// <summary>Logarithm of the entries of an L2 table.</summary>
    public int L2Bits => ClusterBits - 3;

    /// <summary>Counts of a refcount block.</summary>
    public long CountsPerBlock => (long)ClusterSize * 8 >> RefcountOrder;

    /// <summary>Whether a file begins as a qcow2 image does.</summary>
    public static bool IsMagic(ReadOnlySpan<byte> start) => start.Length >= 4 && start[..3].SequenceEqual("QFI"u8) && start[3] == 0xFB;

    /// <summary>Reads and checks the header of an image.</summary>
    /// <exception cref="UserErrorException">It is none, or can't be used.</exception>
    public static Qcow2Header Read(string path, IImageFile file)
    {
        Span<byte> fixedPart = stackalloc byte[FullLength];
        fixedPart.Clear();
        int there = (int)Math.Min(file.Length, FullLength);
        if (there < Version2Length || !file.TryRead(0, fixedPart[..there]) || !IsMagic(fixedPart))
        {
            throw new UserErrorException($"The disk '{path}' is not a qcow2 image: give format=raw if its bytes are the disk's.");
        }

        uint version = Word(fixedPart, 4);
        if (version is not (2 or 3))
        {
            throw new UserErrorException($"The qcow2 image '{path}' has version {version}, which is not known: convert it to version 3 with qemu-img.");
        }

        uint clusterBits = Word(fixedPart, 20);
        Require(path, clusterBits is >= 9 and <= 21, $"its clusters have 2^{clusterBits} bytes");
        uint headerLength = version == 2 ? Version2Length : Word(fixedPart, 100);
        Require(path, version == 2 || (headerLength is >= 104 and <= 1 << 20 && headerLength % 8 == 0 && headerLength <= 1u << (int)clusterBits), $"its header has {headerLength} bytes");
        Require(path, there >= Math.Min((int)headerLength, FullLength), "its header is cut off");

        byte[] first = new byte[Math.Min(1L << (int)clusterBits, file.Length)];
        Require(path, file.TryRead(0, first), "its header can't be read");
        bool current = version == 3;
        var header = new Qcow2Header
        {
            Version = (int)version,
            ClusterBits = (int)clusterBits,
            Size = (long)Long(fixedPart, 24),
            L1Entries = (int)Math.Min(Word(fixedPart, 36), int.MaxValue),
            L1Offset = (long)Long(fixedPart, 40),
            RefcountTableOffset = (long)Long(fixedPart, 48),
            RefcountTableClusters = (int)Math.Min(Word(fixedPart, 56), int.MaxValue),
            SnapshotCount = (int)Math.Min(Word(fixedPart, 60), int.MaxValue),
            SnapshotsOffset = (long)Long(fixedPart, 64),
            Incompatible = current ? Long(fixedPart, 72) : 0,
            Compatible = current ? Long(fixedPart, 80) : 0,
            Autoclear = current ? Long(fixedPart, 88) : 0,
            RefcountOrder = current ? (int)Math.Min(Word(fixedPart, 96), 99) : 4,
            Compression = current && headerLength > 104 ? (Qcow2Compression)fixedPart[104] : Qcow2Compression.Zlib,
        };
        long backing = (long)Long(fixedPart, 8);
        uint backingLength = Word(fixedPart, 16);
        if (backing != 0)
        {
            Require(path, backing >= headerLength && backingLength is > 0 and <= MaxBackingName && backing <= first.Length - backingLength, "its backing file's name lies outside of its header");
            header = header with { BackingName = Encoding.UTF8.GetString(first.AsSpan((int)backing, (int)backingLength)) };
        }

        var names = new Dictionary<(int, int), string>();
        header = header.ReadExtensions(path, first.AsSpan(0, backing > 0 ? (int)backing : first.Length), (int)headerLength, names);
        header.Check(path, file.Length, Word(fixedPart, 32), names);
        return header;
    }

    /// <summary>The header's bytes, a cluster's worth at most.</summary>
    /// <exception cref="UserErrorException">The name of the backing file is too long.</exception>
    public byte[] ToBytes()
    {
        byte[] bytes = new byte[ClusterSize];
        int at = FullLength;
        "QFI"u8.CopyTo(bytes);
        bytes[3] = 0xFB;
        Put(bytes, 4, 3);
        Put(bytes, 20, (uint)ClusterBits);
        Put(bytes, 24, (ulong)Size);
        Put(bytes, 36, (uint)L1Entries);
        Put(bytes, 40, (ulong)L1Offset);
        Put(bytes, 48, (ulong)RefcountTableOffset);
        Put(bytes, 56, (uint)RefcountTableClusters);
        Put(bytes, 72, Incompatible);
        Put(bytes, 80, Compatible);
        Put(bytes, 96, (uint)RefcountOrder);
        Put(bytes, 100, FullLength);
        bytes[104] = (byte)Compression;
        if (BackingName is null)
        {
            return bytes;
        }

        byte[] format = Encoding.UTF8.GetBytes(BackingFormat ?? "");
        byte[] name = Encoding.UTF8.GetBytes(BackingName);
        int end = at + (format.Length > 0 ? 8 + ((format.Length + 7) & ~7) : 0) + 8 + name.Length;
        if (name.Length > MaxBackingName || end > bytes.Length)
        {
            throw new UserErrorException($"The backing file's name '{BackingName}' is too long for the header: put it nearer, or take larger clusters.");
        }

        if (format.Length > 0)
        {
            Put(bytes, at, BackingFormatExtension);
            Put(bytes, at + 4, (uint)format.Length);
            format.CopyTo(bytes, at + 8);
            at += 8 + ((format.Length + 7) & ~7);
        }

        at += 8; // The end of the extensions.
        Put(bytes, 8, (ulong)at);
        Put(bytes, 16, (uint)name.Length);
        name.CopyTo(bytes, at);
        return bytes;
    }

    /// <summary>The sentence for an image that makes no sense.</summary>
    public static UserErrorException Broken(string path, string what) =>
        new($"The qcow2 image '{path}' is damaged: {what}; 'yado disk check' tells more, or restore it from a backup.");

    private static void Require(string path, bool condition, string what)
    {
        if (!condition)
        {
            throw Broken(path, what);
        }
    }

    private Qcow2Header ReadExtensions(string path, ReadOnlySpan<byte> area, int at, Dictionary<(int, int), string> names)
    {
        Qcow2Header header = this;
        while (at <= area.Length - 8)
        {
            uint type = Word(area, at);
            if (type == EndOfExtensions)
            {
                break;
            }

            uint length = Word(area, at + 4);
            at += 8;
            Require(path, length <= area.Length - at, "its header extensions are longer than its header");
            ReadOnlySpan<byte> data = area.Slice(at, (int)length);
            switch (type)
            {
                case BackingFormatExtension:
                    header = header with { BackingFormat = Encoding.UTF8.GetString(data).TrimEnd('\0') };
                    break;
                case FeatureNamesExtension:
                    for (; data.Length >= FeatureNameSize; data = data[FeatureNameSize..])
                    {
                        names[(data[0], data[1])] = Encoding.UTF8.GetString(data[2..FeatureNameSize]).TrimEnd('\0');
                    }

                    break;
                case BitmapsExtension when length >= 24:
                    header = header with { BitmapsSize = (long)Long(data, 8), BitmapsOffset = (long)Long(data, 16) };
                    break;
                default:
                    break;
            }

            at = (int)Math.Min(at + (((long)length + 7) & ~7), area.Length);
        }

        return header;
    }

    private void Check(string path, long fileLength, uint encryption, Dictionary<(int, int), string> names)
    {
        if (encryption != 0)
        {
            throw new UserErrorException($"The qcow2 image '{path}' is encrypted, which is not supported: convert it with qemu-img first.");
        }

        for (int bit = 0; bit < 64; bit++)
        {
            if ((Incompatible & ~(Dirty | Corrupt | OtherCompression)) >> bit << 63 != 0)
            {
                string name = s_unsupported.TryGetValue(bit, out string? known) ? known : names.TryGetValue((0, bit), out string? told) ? told : $"incompatible feature {bit}";
                throw new UserErrorException($"The qcow2 image '{path}' needs '{name}', which is not supported: convert it with qemu-img first.");
            }
        }

        Require(path, Compression is Qcow2Compression.Zlib or Qcow2Compression.Zstd, $"its clusters are compressed by method {(byte)Compression}");
        Require(path, ((Incompatible & OtherCompression) != 0) == (Compression != Qcow2Compression.Zlib), "its compression and the feature bit for it contradict each other");
        Require(path, RefcountOrder <= 6, $"its reference counts have 2^{RefcountOrder} bits");
        Require(path, Size >= 0, "its size is beyond all measure");
        if (Size == 0 || Size % 512 != 0)
        {
            throw new UserErrorException($"The disk '{path}' has {Size} bytes, which is no multiple of 512: resize it with qemu-img.");
        }

        UInt128 reach = (UInt128)(uint)L1Entries << (ClusterBits + L2Bits);
        Require(path, L1Entries <= MaxL1Bytes / 8, $"its L1 table has {L1Entries} entries");
        Require(path, reach >= (UInt128)Size, $"its L1 table has {L1Entries} entries, too few for its size");
        Require(path, IsPlace(L1Offset, (long)L1Entries * 8, fileLength), "its L1 table lies outside of the file");
        Require(path, RefcountTableClusters > 0 && (long)RefcountTableClusters << ClusterBits <= MaxRefcountTableBytes, $"its refcount table has {RefcountTableClusters} clusters");
        Require(path, IsPlace(RefcountTableOffset, (long)RefcountTableClusters << ClusterBits, fileLength), "its refcount table lies outside of the file");
        Require(path, SnapshotCount <= Qcow2Snapshot.MaxCount, $"it has {SnapshotCount} snapshots");
        Require(path, SnapshotCount == 0 || IsPlace(SnapshotsOffset, 40L * SnapshotCount, fileLength), "its table of snapshots lies outside of the file");
    }

    private bool IsPlace(long offset, long length, long fileLength) =>
        offset >= ClusterSize && (offset & (ClusterSize - 1)) == 0 && length <= fileLength && offset <= fileLength - length;

    private static uint Word(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    private static ulong Long(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes[at..]);

    private static void Put(Span<byte> bytes, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes[at..], value);

    private static void Put(Span<byte> bytes, int at, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(bytes[at..], value);
}
