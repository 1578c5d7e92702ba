using System.Buffers;
using System.IO.Compression;
using ZstdSharp;

namespace Yadokari.Disks.Qcow2;

/// <summary>What packs and unpacks clusters, and the last few that were unpacked. Any thread.</summary>
/// <param name="clusterBits">Binary logarithm of the cluster size.</param>
/// <param name="method">How they are compressed.</param>
internal sealed class CompressedClusters(int clusterBits, Qcow2Compression method)
{
    private const ulong SectorMask = 511;
    private const int Kept = 8;
    private const int Window = 4096; // Readers of qcow2 look back no further.
    private const int ZstdLevel = 3;

    private readonly Unpacked[] _kept = [.. Enumerable.Range(0, Kept).Select(_ => new Unpacked())];

    /// <summary>Where the data of a compressed cluster is (QEMU's docs/interop/qcow2.txt, "Compressed Clusters Descriptor").</summary>
    /// <param name="entry">Its entry in an L2 table.</param>
    /// <param name="clusterBits">Binary logarithm of the cluster size.</param>
    public static (long Offset, int Length) Locate(ulong entry, int clusterBits)
    {
        int x = 62 - (clusterBits - 8);
        ulong offset = entry & ((1UL << x) - 1);
        int sectors = (int)((entry >> x) & ((1UL << (62 - x)) - 1)) + 1;
        return ((long)offset, (sectors * 512) - (int)(offset & SectorMask));
    }

    /// <summary>The first and last host cluster that a compressed cluster lies in.</summary>
    public static (long First, long Last) Clusters(ulong entry, int clusterBits)
    {
        (long offset, int length) = Locate(entry, clusterBits);
        return (offset >> clusterBits, (offset + length - 1) >> clusterBits);
    }

    /// <summary>The entry for data at a place.</summary>
    public static ulong Describe(long offset, int length, int clusterBits)
    {
        ulong more = (ulong)(((offset + length - 1) >> 9) - (offset >> 9));
        return Qcow2Disk.IsCompressed | (more << (62 - (clusterBits - 8))) | (ulong)offset;
    }

    /// <summary>Copies a part of a compressed cluster to pieces of memory. False where the host can't, or the data is no cluster.</summary>
    public bool TryRead(IImageFile file, ulong entry, int from, int length, ref PieceCursor to)
    {
        Unpacked kept = _kept[(int)((entry * 0x9E37_79B9_7F4A_7C15) >> 61)];
        lock (kept)
        {
            if (kept.Entry != entry)
            {
                kept.Entry = 0; // An entry is never 0: it has the bit that says it is compressed.
                kept.Bytes ??= new byte[1 << clusterBits];
                (long offset, int packed) = Locate(entry, clusterBits);
                byte[] bytes = ArrayPool<byte>.Shared.Rent(packed);
                try
                {
                    int there = (int)Math.Clamp(file.Length - offset, 0, packed);
                    if (!file.TryRead(offset, bytes.AsSpan(0, there)) || !TryUnpack(bytes.AsSpan(0, there), bytes, kept.Bytes))
                    {
                        return false;
                    }
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(bytes);
                }

                kept.Entry = entry;
            }

            to.Fill(kept.Bytes.AsSpan(from, length));
            return true;
        }
    }

    /// <summary>Compresses a cluster. Returns the bytes it takes, or -1 where that would not be fewer.</summary>
    public int Pack(ReadOnlySpan<byte> cluster, byte[] packed)
    {
        if (method == Qcow2Compression.Zstd)
        {
            using var compressor = new Compressor(ZstdLevel);
            return compressor.TryWrap(cluster, packed.AsSpan(0, cluster.Length - 1), out int written) ? written : -1;
        }

        // The library's window is larger than what readers allow. Each 4 KiB begin anew, at the boundary of a byte, so that none looks back further.
        using var stream = new MemoryStream();
        for (int at = 0; at < cluster.Length; at += Window)
        {
            ReadOnlySpan<byte> piece = cluster[at..Math.Min(at + Window, cluster.Length)];
            using var deflate = new DeflateStream(stream, CompressionLevel.Optimal, leaveOpen: true);
            deflate.Write(piece);
            deflate.Flush();
            if (at + Window < cluster.Length)
            {
                long end = stream.Length;
                deflate.Dispose();
                stream.SetLength(end); // What closes the stream of a piece would end the whole.
            }
        }

        if (stream.Length >= cluster.Length)
        {
            return -1;
        }

        stream.Position = 0;
        return stream.Read(packed, 0, (int)stream.Length);
    }

    private bool TryUnpack(ReadOnlySpan<byte> packed, byte[] array, byte[] cluster)
    {
        try
        {
            if (method == Qcow2Compression.Zstd)
            {
                using var decompressor = new Decompressor();
                Span<byte> rest = cluster;
                while (!rest.IsEmpty)
                {
                    decompressor.UnwrapStream(packed, rest, out int used, out int made);
                    if (used == 0 && made == 0)
                    {
                        return false;
                    }

                    packed = packed[used..];
                    rest = rest[made..];
                }

                return true;
            }

            using var stream = new DeflateStream(new MemoryStream(array, 0, packed.Length), CompressionMode.Decompress);
            return stream.ReadAtLeast(cluster, cluster.Length, throwOnEndOfStream: false) == cluster.Length;
        }
        catch (Exception e) when (e is InvalidDataException or ZstdException or IOException)
        {
            return false;
        }
    }

    private sealed class Unpacked
    {
        public ulong Entry;
        public byte[]? Bytes;
    }
}
