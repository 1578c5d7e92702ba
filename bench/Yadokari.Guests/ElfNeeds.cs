using System.Buffers.Binary;
using System.Text;

namespace Yadokari.Guests;

/// <summary>Reads which shared libraries a 64-bit ELF file asks its loader for (DT_NEEDED; System V ABI, chapter "Dynamic Linking").</summary>
internal static class ElfNeeds
{
    private const uint SegmentLoad = 1;
    private const uint SegmentDynamic = 2;
    private const long TagNeeded = 1;
    private const long TagStringTable = 5;

    /// <summary>The library names, in order; none for a static program or a file that is not ELF.</summary>
    public static IReadOnlyList<string> Read(ReadOnlySpan<byte> file)
    {
        if (file.Length < 64 || !file[..4].SequenceEqual("\u007fELF"u8) || file[4] != 2)
            return [];
        var table = (int)BinaryPrimitives.ReadUInt64LittleEndian(file[32..]);
        var count = BinaryPrimitives.ReadUInt16LittleEndian(file[56..]);
        var loads = new List<(ulong Address, ulong Offset, ulong Size)>();
        var dynamic = default(ReadOnlySpan<byte>);
        for (var i = 0; i < count; i++)
        {
            var header = file.Slice(table + i * 56, 56);
            var kind = BinaryPrimitives.ReadUInt32LittleEndian(header);
            var offset = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
            var address = BinaryPrimitives.ReadUInt64LittleEndian(header[16..]);
            var size = BinaryPrimitives.ReadUInt64LittleEndian(header[32..]);
            if (kind == SegmentLoad)
                loads.Add((address, offset, size));
            else if (kind == SegmentDynamic)
                dynamic = file.Slice((int)offset, (int)size);
        }
        var names = new List<ulong>();
        var strings = 0ul;
        for (; dynamic.Length >= 16; dynamic = dynamic[16..])
        {
            var tag = BinaryPrimitives.ReadInt64LittleEndian(dynamic);
            var value = BinaryPrimitives.ReadUInt64LittleEndian(dynamic[8..]);
            if (tag == TagNeeded)
                names.Add(value);
            else if (tag == TagStringTable)
                strings = value;
        }
        var needed = new List<string>();
        foreach (var name in names)
        {
            foreach (var load in loads)
            {
                var at = strings + name;
                if (at < load.Address || at >= load.Address + load.Size)
                    continue;
                var text = file[(int)(at - load.Address + load.Offset)..];
                needed.Add(Encoding.ASCII.GetString(text[..text.IndexOf((byte)0)]));
            }
        }
        return needed;
    }
}
