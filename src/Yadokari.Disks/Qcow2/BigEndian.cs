using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Yadokari.Disks.Qcow2;

/// <summary>Tables of 64-bit numbers as qcow2 has them.</summary>
internal static class BigEndian
{
    /// <summary>Reads a table. Null where the host can't.</summary>
    public static ulong[]? ReadTable(IImageFile file, long offset, int entries)
    {
        ulong[] table = new ulong[entries];
        if (!file.TryRead(offset, MemoryMarshal.AsBytes(table.AsSpan())))
        {
            return null;
        }

        BinaryPrimitives.ReverseEndianness(table, table);
        return table;
    }

    /// <summary>Writes a table into bytes.</summary>
    public static void Write(ReadOnlySpan<ulong> table, Span<byte> bytes) =>
        BinaryPrimitives.ReverseEndianness(table, MemoryMarshal.Cast<byte, ulong>(bytes)[..table.Length]);
}
