using System.Buffers.Binary;

namespace Yadokari.Fuzz.Tests;

/// <summary>A sound qcow2 image, of which others are made that are not: changed where it matters, in its header and its tables (QEMU's docs/interop/qcow2.txt).</summary>
/// <param name="bytes">The image's file.</param>
/// <param name="backing">The file that it may build on.</param>
internal sealed class WildImage(byte[] bytes, byte[] backing)
{
    public const string BackingName = "backing.img";

    private const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
    private const ulong Flags = 0xC000_0000_0000_0001;

    // Of the header: offset, bytes.
    private static readonly (int At, int Bytes)[] s_fields =
        [(4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1)];

    private readonly int _clusterSize = 1 << (int)U32(bytes, 20);

    public byte[] Backing => backing;

    private List<long> Tables
    {
        get
        {
            // Where entries of eight bytes lie: L1 and L2 tables, the refcount table, the snapshots' L1 tables come along in changes of anything.
            List<long> tables = [];
            AddTable(tables, (long)U64(bytes, 40), (int)U32(bytes, 36));
            AddTable(tables, (long)U64(bytes, 48), _clusterSize / 8);
            return tables;
        }
    }

    /// <summary>The image with a few changes.</summary>
    public byte[] Change(Random random)
    {
        byte[] changed = (byte[])bytes.Clone();
        List<long> tables = Tables;
        for (int changes = random.Next(1, 6); changes > 0; changes--)
        {
            switch (random.Next(8))
            {
                case < 2:
                    (int at, int length) = s_fields[random.Next(s_fields.Length)];
                    Put(changed, at, length, Number(random, Number(changed, at, length)));
                    break;
                case < 5:
                    long entry = Entry(random, tables[random.Next(tables.Count)]);
                    Put(changed, entry, 8, Pointer(random, U64(changed, entry)));
                    break;
                case 5:
                    long where = Entry(random, tables[random.Next(tables.Count)]);
                    changed[where + random.Next(8)] ^= (byte)(1 << random.Next(8));
                    break;
                case 6:
                    changed[random.Next(2) == 0 ? random.Next(Math.Min(changed.Length, 4 * _clusterSize)) : random.Next(changed.Length)] = (byte)random.Next(256);
                    break;
                default:
                    if (random.Next(4) == 0)
                    {
                        return changed[..random.Next(changed.Length)];
                    }

                    break;
            }
        }

        return changed;
    }

    private long Entry(Random random, long table) =>
        Math.Min(table + (8 * random.Next(random.Next(2) == 0 ? 4 : _clusterSize / 8)), bytes.Length - 8);

    private void AddTable(List<long> tables, long at, int entries)
    {
        tables.Add(at);
        for (int i = 0; i < entries && at + (8 * i) + 8 <= bytes.Length; i++)
        {
            long inner = (long)(U64(bytes, at + (8 * i)) & OffsetMask);
            if (inner > 0 && inner + _clusterSize <= bytes.Length)
            {
                tables.Add(inner);
            }
        }
    }

    // Where another table, or nothing, may lie.
    private ulong Pointer(Random random, ulong old) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => 0,
        2 => old ^ (1ul << random.Next(64)),
        3 => (ulong)bytes.Length & OffsetMask,
        4 => (old & Flags) | ((ulong)random.Next(bytes.Length) & OffsetMask),
        5 => 0x4000_0000_0000_0000 | (ulong)random.NextInt64(1L << 62),
        _ => (old & Flags) | ((ulong)random.Next((bytes.Length / _clusterSize) + 2) * (ulong)_clusterSize),
    };

    private ulong Number(Random random, ulong old) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => (ulong)random.Next(64),
        2 => ulong.MaxValue >> random.Next(64),
        3 => old + (ulong)random.Next(-2, 3),
        4 => 1ul << random.Next(64),
        5 => (ulong)random.Next((bytes.Length / _clusterSize) + 2) * (ulong)_clusterSize,
        _ => old ^ (1ul << random.Next(64)),
    };

    private static ulong Number(byte[] from, int at, int length) => length == 8 ? U64(from, at) : length == 4 ? U32(from, at) : from[at];

    private static void Put(byte[] to, long at, int length, ulong value)
    {
        byte[] all = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(all, value);
        all.AsSpan(8 - length).CopyTo(to.AsSpan((int)at));
    }

    private static ulong U64(byte[] from, long at) => BinaryPrimitives.ReadUInt64BigEndian(from.AsSpan((int)at));

    private static uint U32(byte[] from, long at) => BinaryPrimitives.ReadUInt32BigEndian(from.AsSpan((int)at));
}
