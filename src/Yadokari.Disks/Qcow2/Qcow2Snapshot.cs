using System.Buffers.Binary;
using System.Text;
using Yadokari.Core;

namespace Yadokari.Disks.Qcow2;

/// <summary>An internal snapshot (QEMU's docs/interop/qcow2.txt, "Snapshots").</summary>
/// <param name="L1Offset">Where its L1 table is.</param>
/// <param name="L1Entries">How many entries that has.</param>
/// <param name="Id">Its identification.</param>
/// <param name="Name">Its name.</param>
/// <param name="Taken">When it was taken.</param>
internal sealed record Qcow2Snapshot(long L1Offset, int L1Entries, string Id, string Name, DateTimeOffset Taken)
{
    /// <summary>The most that an image may have, as in QEMU.</summary>
    public const int MaxCount = 65536;

    private const int FixedSize = 40;
    private const int MaxExtra = 1024;

    /// <summary>Reads the table of snapshots.</summary>
    /// <param name="path">What messages call the image.</param>
    /// <param name="file">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="tableLength">Bytes of the table.</param>
    /// <exception cref="UserErrorException">It makes no sense.</exception>
    public static IReadOnlyList<Qcow2Snapshot> ReadAll(string path, IImageFile file, Qcow2Header header, out long tableLength)
    {
        var snapshots = new List<Qcow2Snapshot>();
        long at = header.SnapshotsOffset;
        Span<byte> entry = stackalloc byte[FixedSize];
        for (int i = 0; i < header.SnapshotCount; i++)
        {
            Require(at <= file.Length - FixedSize && file.TryRead(at, entry));
            long l1 = BinaryPrimitives.ReadInt64BigEndian(entry);
            uint entries = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
            int idLength = BinaryPrimitives.ReadUInt16BigEndian(entry[12..]);
            int nameLength = BinaryPrimitives.ReadUInt16BigEndian(entry[14..]);
            uint seconds = BinaryPrimitives.ReadUInt32BigEndian(entry[16..]);
            uint extra = BinaryPrimitives.ReadUInt32BigEndian(entry[36..]);
            Require(extra <= MaxExtra && entries <= Qcow2Header.MaxL1Bytes / 8);
            Require(l1 > 0 && l1 % header.ClusterSize == 0 && l1 <= file.Length - (entries * 8L));
            byte[] text = new byte[idLength + nameLength];
            at += FixedSize + extra;
            Require(at <= file.Length - text.Length && file.TryRead(at, text));
            snapshots.Add(new Qcow2Snapshot(
                l1, (int)entries, Encoding.UTF8.GetString(text, 0, idLength), Encoding.UTF8.GetString(text, idLength, nameLength), DateTimeOffset.FromUnixTimeSeconds(seconds)));
            at = (at + text.Length + 7) & ~7;
        }

        tableLength = at - header.SnapshotsOffset;
        return snapshots;

        void Require(bool condition)
        {
            if (!condition)
            {
                throw Qcow2Header.Broken(path, "its table of snapshots makes no sense");
            }
        }
    }
}
