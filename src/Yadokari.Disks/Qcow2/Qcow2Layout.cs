using Yadokari.Core;

namespace Yadokari.Disks.Qcow2;

/// <summary>What an empty image consists of: header, refcount table and blocks, L1 table, in this order.</summary>
internal static class Qcow2Layout
{
    /// <summary>Writes an empty image into an empty file.</summary>
    /// <param name="path">Its name in messages.</param>
    /// <param name="file">The file.</param>
    /// <param name="wanted">Size, geometry, features and backing file; places are found here.</param>
    /// <exception cref="UserErrorException">There can be no such image, or the host can't.</exception>
    public static void Write(string path, IImageFile file, Qcow2Header wanted)
    {
        long size = wanted.ClusterSize;
        long l1Entries = (long)(((UInt128)wanted.Size + (UInt128)(1UL << (wanted.ClusterBits + wanted.L2Bits)) - 1) >> (wanted.ClusterBits + wanted.L2Bits));
        if (l1Entries * 8 > Qcow2Header.MaxL1Bytes)
        {
            throw new UserErrorException($"A disk of {wanted.Size} bytes is too large for clusters of {size}: take larger ones with --cluster-size.");
        }

        long l1Clusters = ((l1Entries * 8) + size - 1) / size;
        long blocks = 1;
        long tableClusters = 1;
        long clusters;
        while (true)
        {
            clusters = 1 + tableClusters + blocks + l1Clusters;
            long needed = (clusters + wanted.CountsPerBlock - 1) / wanted.CountsPerBlock;
            long table = ((needed * 8) + size - 1) / size;
            if (needed <= blocks && table <= tableClusters)
            {
                break;
            }

            (blocks, tableClusters) = (Math.Max(needed, blocks), Math.Max(table, tableClusters));
        }

        Qcow2Header header = wanted with
        {
            L1Entries = (int)l1Entries,
            L1Offset = (1 + tableClusters + blocks) * size,
            RefcountTableOffset = size,
            RefcountTableClusters = (int)tableClusters,
            Incompatible = wanted.Compression != Qcow2Compression.Zlib ? Qcow2Header.OtherCompression : 0,
        };
        byte[] headerBytes = header.ToBytes();
        byte[] refcountTable = new byte[tableClusters * size];
        BigEndian.Write([.. Enumerable.Range(0, (int)blocks).Select(i => (ulong)((1 + tableClusters + i) * size))], refcountTable);
        byte[] counts = new byte[blocks * size];
        for (int i = 0; i < clusters; i++)
        {
            Refcounts.Write(counts, i, wanted.RefcountOrder, 1);
        }

        if (!file.TrySetLength(clusters * size) || !file.TryWrite(size, refcountTable) || !file.TryWrite((1 + tableClusters) * size, counts)
            || !file.TryWrite(0, headerBytes) || !file.TryFlush())
        {
            throw new UserErrorException($"The image '{path}' can't be written: check that the host's disk has room for {clusters * size} bytes.");
        }
    }
}
