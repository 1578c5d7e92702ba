using System.Buffers.Binary;
using System.Text;
using Yadokari.Core;

namespace Yadokari.X86.Audit;

/// <summary>Finds the code in an ELF file for x86 (System V ABI, chapters 4 and 5): 32-bit and 64-bit.</summary>
public static class ElfCode
{
    private const ushort MachineI386 = 3;
    private const ushort MachineX86_64 = 62;
    private const uint SectionHoldsNothing = 8;
    private const uint SectionIsCode = 4;
    private const uint SegmentIsLoaded = 1;
    private const uint SegmentIsCode = 1;

    /// <summary>Whether the bytes begin as an ELF file does.</summary>
    public static bool IsElf(ReadOnlySpan<byte> file) => file.StartsWith("\u007FELF"u8);

    /// <summary>The executable sections, or the executable segments of a file without sections.</summary>
    /// <param name="name">What messages call the file.</param>
    /// <param name="file">Its bytes; the result refers to them.</param>
    /// <exception cref="UserErrorException">The file is truncated, not for x86, or has no code.</exception>
    public static IReadOnlyList<CodeSection> Read(string name, ReadOnlyMemory<byte> file)
    {
        ReadOnlySpan<byte> bytes = file.Span;
        if (!IsElf(bytes) || bytes.Length < 52 || bytes[4] is not (1 or 2) || bytes[5] != 1)
        {
            throw new UserErrorException($"'{name}' is not an x86 ELF file; give an ELF file or a kernel image.");
        }

        bool wide = bytes[4] == 2;
        ushort machine = BinaryPrimitives.ReadUInt16LittleEndian(bytes[18..]);
        if (machine is not (MachineI386 or MachineX86_64) || (wide && bytes.Length < 64))
        {
            throw new UserErrorException($"'{name}' holds code for ELF machine {machine}, not for x86; give a file for x86.");
        }

        int bitness = machine == MachineX86_64 ? 64 : 32;
        List<CodeSection> code = FromSections(name, file, wide, bitness);
        if (code.Count == 0)
        {
            code = FromSegments(name, file, wide, bitness);
        }

        return code.Count != 0 ? code : throw new UserErrorException($"'{name}' holds no executable code; give a program, library or kernel.");
    }

    private static List<CodeSection> FromSections(string name, ReadOnlyMemory<byte> file, bool wide, int bitness)
    {
        ReadOnlySpan<byte> bytes = file.Span;
        ulong table = wide ? U64(bytes, 40) : U32(bytes, 32);
        int entrySize = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(wide ? 58 : 46)..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(wide ? 60 : 48)..]);
        int namesIndex = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(wide ? 62 : 50)..]);
        var code = new List<CodeSection>();
        if (table == 0 || count == 0)
        {
            return code;
        }

        if (entrySize < (wide ? 64 : 40))
        {
            throw new UserErrorException($"'{name}' has section headers of {entrySize} bytes, which is too few; the file is damaged.");
        }

        ReadOnlySpan<byte> headers = Slice(name, file, table, (ulong)entrySize * (ulong)count).Span;
        ReadOnlySpan<byte> names = default;
        for (int pass = 0; pass < 2; pass++)
        {
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<byte> header = headers.Slice(i * entrySize, entrySize);
                uint type = U32(header, 4);
                ulong flags = wide ? U64(header, 8) : U32(header, 8);
                ulong address = wide ? U64(header, 16) : U32(header, 12);
                ulong offset = wide ? U64(header, 24) : U32(header, 16);
                ulong size = wide ? U64(header, 32) : U32(header, 20);
                if (pass == 0 && i == namesIndex && type != SectionHoldsNothing)
                {
                    names = Slice(name, file, offset, size).Span;
                }
                else if (pass == 1 && (flags & SectionIsCode) != 0 && type != SectionHoldsNothing && size != 0)
                {
                    code.Add(new CodeSection(NameAt(names, U32(header, 0)), address, Slice(name, file, offset, size), bitness));
                }
            }
        }

        return code;
    }

    private static List<CodeSection> FromSegments(string name, ReadOnlyMemory<byte> file, bool wide, int bitness)
    {
        ReadOnlySpan<byte> bytes = file.Span;
        ulong table = wide ? U64(bytes, 32) : U32(bytes, 28);
        int entrySize = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(wide ? 54 : 42)..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(bytes[(wide ? 56 : 44)..]);
        var code = new List<CodeSection>();
        if (table == 0 || count == 0 || entrySize < (wide ? 56 : 32))
        {
            return code;
        }

        ReadOnlySpan<byte> headers = Slice(name, file, table, (ulong)entrySize * (ulong)count).Span;
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = headers.Slice(i * entrySize, entrySize);
            uint flags = U32(header, wide ? 4 : 24);
            ulong offset = wide ? U64(header, 8) : U32(header, 4);
            ulong address = wide ? U64(header, 16) : U32(header, 8);
            ulong size = wide ? U64(header, 32) : U32(header, 16);
            if (U32(header, 0) == SegmentIsLoaded && (flags & SegmentIsCode) != 0 && size != 0)
            {
                code.Add(new CodeSection($"segment {i}", address, Slice(name, file, offset, size), bitness));
            }
        }

        return code;
    }

    private static ReadOnlyMemory<byte> Slice(string name, ReadOnlyMemory<byte> file, ulong offset, ulong size)
    {
        ulong length = (ulong)file.Length;
        return offset <= length && size <= length - offset
            ? file.Slice((int)offset, (int)size)
            : throw new UserErrorException($"'{name}' is truncated: it lacks bytes {offset} to {offset + size} of {length}; copy it again.");
    }

    private static string NameAt(ReadOnlySpan<byte> names, uint offset)
    {
        if (offset >= (uint)names.Length)
        {
            return "?";
        }

        ReadOnlySpan<byte> rest = names[(int)offset..];
        int end = rest.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? rest : rest[..end]);
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[offset..]);
}
