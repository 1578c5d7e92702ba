using Yadokari.Core;
using Yadokari.Core.Files;

namespace Yadokari.X86.Audit;

/// <summary>Finds the code in an ELF file for x86 (System V ABI, chapters 4 and 5): 32-bit and 64-bit.</summary>
public static class ElfCode
{
    private const ushort MachineI386 = 3;
    private const ushort MachineX86_64 = 62;

    /// <summary>The executable sections, or the executable segments of a file without sections.</summary>
    /// <param name="name">The file's name in messages.</param>
    /// <param name="bytes">The file; the result refers to it.</param>
    /// <exception cref="UserErrorException">The file is truncated, not for x86, or has no code.</exception>
    public static IReadOnlyList<CodeSection> Read(string name, ReadOnlyMemory<byte> bytes)
    {
        if (!ElfFile.TryRead(bytes.Span, out ElfFile file) || !file.IsLittleEndian)
        {
            throw new UserErrorException($"'{name}' is not an x86 ELF file; give an ELF file or a kernel image.");
        }

        if (file.Machine is not (MachineI386 or MachineX86_64))
        {
            throw new UserErrorException($"'{name}' contains code for ELF machine {file.Machine}, not for x86; give a file for x86.");
        }

        if (!file.TryReadSections(out ElfSection[] sections) || !file.TryReadSegments(out ElfSegment[] segments))
        {
            throw new UserErrorException($"'{name}' is truncated or damaged: its headers do not lie within its {bytes.Length} bytes; copy it again.");
        }

        int bitness = file.Machine == MachineX86_64 ? 64 : 32;
        List<CodeSection> code = [.. sections
            .Where(s => (s.Flags & ElfFile.ExecutableSection) != 0 && s.Type != ElfFile.NoBits && s.Size != 0)
            .Select(s => new CodeSection(s.Name, s.Address, Slice(name, bytes, s.Offset, s.Size), bitness))];
        if (code.Count == 0)
        {
            code = [.. segments.Index()
                .Where(s => s.Item.Type == ElfFile.Load && (s.Item.Flags & ElfFile.ExecutableSegment) != 0 && s.Item.FileSize != 0)
                .Select(s => new CodeSection($"segment {s.Index}", s.Item.Virtual, Slice(name, bytes, s.Item.Offset, s.Item.FileSize), bitness))];
        }

        return code.Count != 0 ? code : throw new UserErrorException($"'{name}' contains no executable code; give a program, library or kernel.");
    }

    private static ReadOnlyMemory<byte> Slice(string name, ReadOnlyMemory<byte> file, ulong offset, ulong size)
    {
        ulong length = (ulong)file.Length;
        return offset <= length && size <= length - offset
            ? file.Slice((int)offset, (int)size)
            : throw new UserErrorException($"'{name}' is truncated: it lacks bytes {offset} to {offset + size} of {length}; copy it again.");
    }
}
