using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Files;

namespace Yadokari.Guests;

/// <summary>Reads which shared libraries a 64-bit ELF file asks its loader for (DT_NEEDED; System V ABI, chapter "Dynamic Linking").</summary>
internal static class ElfNeeds
{
    private const long TagNeeded = 1;
    private const long TagStringTable = 5;

    /// <summary>The library names, in order; none for a static program or a file that is not ELF.</summary>
    public static IReadOnlyList<string> Read(ReadOnlySpan<byte> bytes)
    {
        if (!ElfFile.TryRead(bytes, out var file) || !file.Is64Bit || !file.TryReadSegments(out var segments))
            return [];
        var table = segments.FirstOrDefault(static segment => segment.Type == ElfFile.Dynamic);
        file.TryGetContents(table.Offset, table.FileSize, out var dynamic);
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
            var at = strings + name;
            var load = segments.Single(segment => segment.Type == ElfFile.Load && at - segment.Virtual < segment.FileSize);
            var text = bytes[(int)(at - load.Virtual + load.Offset)..];
            needed.Add(Encoding.ASCII.GetString(text[..text.IndexOf((byte)0)]));
        }
        return needed;
    }
}
