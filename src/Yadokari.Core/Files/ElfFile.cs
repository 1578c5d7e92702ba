using System.Buffers.Binary;
using System.Text;

namespace Yadokari.Core.Files;

/// <summary>A program header (System V gABI, Program Header).</summary>
/// <param name="Type"><c>p_type</c>; see <see cref="ElfFile"/> for the types that are used here.</param>
/// <param name="Flags"><c>p_flags</c>.</param>
/// <param name="Offset">In the file.</param>
/// <param name="FileSize">Bytes in the file.</param>
/// <param name="Virtual">Virtual address.</param>
/// <param name="Physical">Physical address.</param>
/// <param name="MemorySize">Bytes in memory; those past <paramref name="FileSize"/> are zero.</param>
public readonly record struct ElfSegment(uint Type, uint Flags, ulong Offset, ulong FileSize, ulong Virtual, ulong Physical, ulong MemorySize)
{
    /// <summary>First physical address past the segment.</summary>
    public ulong PhysicalEnd => Physical + MemorySize;
}

/// <summary>A section header (System V gABI, Sections).</summary>
/// <param name="Name">From the section header string table; "?" where that has no such name.</param>
/// <param name="Type"><c>sh_type</c>.</param>
/// <param name="Flags"><c>sh_flags</c>.</param>
/// <param name="Address">Virtual address.</param>
/// <param name="Offset">In the file.</param>
/// <param name="Size">Bytes; in the file unless the type is <see cref="ElfFile.NoBits"/>.</param>
public readonly record struct ElfSection(string Name, uint Type, ulong Flags, ulong Address, ulong Offset, ulong Size);

/// <summary>
/// Reads the headers of an ELF file of 64 or 32 bits and of either byte order (System V gABI, chapters 4 and 5). The file is not trusted:
/// nothing is read outside it, and no member throws. What headers say about contents is checked only by <see cref="TryGetContents"/>.
/// </summary>
public readonly ref struct ElfFile
{
    /// <summary><c>e_type</c> of what a compiler leaves for the linker, or a kernel module (ET_REL).</summary>
    public const ushort Object = 1;

    /// <summary><c>p_type</c> of a segment that is loaded (PT_LOAD).</summary>
    public const uint Load = 1;

    /// <summary><c>p_type</c> of what the dynamic linker reads (PT_DYNAMIC).</summary>
    public const uint Dynamic = 2;

    /// <summary><c>p_type</c> of notes (PT_NOTE).</summary>
    public const uint Note = 4;

    /// <summary>Bit of <c>p_flags</c>: the segment holds code (PF_X).</summary>
    public const uint ExecutableSegment = 1;

    /// <summary><c>sh_type</c> of a section without bytes in the file (SHT_NOBITS).</summary>
    public const uint NoBits = 8;

    /// <summary>Bit of <c>sh_flags</c>: the section holds code (SHF_EXECINSTR).</summary>
    public const ulong ExecutableSection = 4;

    private const int HeaderSize64 = 64;
    private const int HeaderSize32 = 52;

    private readonly ReadOnlySpan<byte> _bytes;

    private ElfFile(ReadOnlySpan<byte> bytes)
    {
        _bytes = bytes;
        Is64Bit = bytes[4] == 2;
        IsLittleEndian = bytes[5] == 1;
    }

    /// <summary>Whether addresses have 64 bits (ELFCLASS64).</summary>
    public bool Is64Bit { get; }

    /// <summary>Whether numbers in the file are little-endian (ELFDATA2LSB).</summary>
    public bool IsLittleEndian { get; }

    /// <summary><c>e_type</c>.</summary>
    public ushort Type => U16(_bytes, 16);

    /// <summary><c>e_machine</c>.</summary>
    public ushort Machine => U16(_bytes, 18);

    /// <summary><c>e_entry</c>, a virtual address.</summary>
    public ulong Entry => Address(_bytes, 24, 24);

    /// <summary>Whether the bytes begin as an ELF file does.</summary>
    public static bool IsElf(ReadOnlySpan<byte> bytes) => bytes.StartsWith("\u007FELF"u8);

    /// <summary>Reads the file header. False if it is not one, of an unknown class or byte order, or truncated.</summary>
    /// <param name="bytes">The whole file, which <paramref name="file"/> refers to.</param>
    /// <param name="file">The file.</param>
    public static bool TryRead(ReadOnlySpan<byte> bytes, out ElfFile file)
    {
        file = default;
        if (!IsElf(bytes) || bytes.Length < HeaderSize32 || bytes[4] is not (1 or 2) || bytes[5] is not (1 or 2)
            || (bytes[4] == 2 && bytes.Length < HeaderSize64))
        {
            return false;
        }

        file = new ElfFile(bytes);
        return true;
    }

    /// <summary>Reads all program headers. False if they do not lie in the file or are shorter than the format's; none is no error.</summary>
    public bool TryReadSegments(out ElfSegment[] segments)
    {
        segments = [];
        int entrySize = U16(_bytes, Is64Bit ? 54 : 42);
        int count = U16(_bytes, Is64Bit ? 56 : 44);
        if (!TryGetTable(Address(_bytes, 32, 28), entrySize, Is64Bit ? 56 : 32, count, out ReadOnlySpan<byte> table))
        {
            return false;
        }

        segments = new ElfSegment[count];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = table[(i * entrySize)..];
            segments[i] = new ElfSegment(
                U32(header, 0), U32(header, Is64Bit ? 4 : 24), Address(header, 8, 4), Address(header, 32, 16),
                Address(header, 16, 8), Address(header, 24, 12), Address(header, 40, 20));
        }

        return true;
    }

    /// <summary>Reads all section headers. False if they do not lie in the file or are shorter than the format's; none is no error.</summary>
    public bool TryReadSections(out ElfSection[] sections)
    {
        sections = [];
        ulong offset = Address(_bytes, 40, 32);
        int entrySize = U16(_bytes, Is64Bit ? 58 : 46);
        int count = offset == 0 ? 0 : U16(_bytes, Is64Bit ? 60 : 48);
        int names = U16(_bytes, Is64Bit ? 62 : 50);
        if (!TryGetTable(offset, entrySize, Is64Bit ? 64 : 40, count, out ReadOnlySpan<byte> table))
        {
            return false;
        }

        ReadOnlySpan<byte> text = default;
        if (names < count)
        {
            ElfSection section = Section(table[(names * entrySize)..], default);
            TryGetContents(section.Offset, section.Type == NoBits ? 0 : section.Size, out text);
        }

        sections = new ElfSection[count];
        for (int i = 0; i < count; i++)
        {
            sections[i] = Section(table[(i * entrySize)..], text);
        }

        return true;
    }

    /// <summary>The bytes of a segment or section. False if they do not lie in the file.</summary>
    public bool TryGetContents(ulong offset, ulong size, out ReadOnlySpan<byte> contents)
    {
        bool lies = offset <= (ulong)_bytes.Length && size <= (ulong)_bytes.Length - offset;
        contents = lies ? _bytes.Slice((int)offset, (int)size) : default;
        return lies;
    }

    private bool TryGetTable(ulong offset, int entrySize, int least, int count, out ReadOnlySpan<byte> table)
    {
        table = default;
        return count == 0 || (entrySize >= least && TryGetContents(offset, (ulong)entrySize * (ulong)count, out table));
    }

    private ElfSection Section(ReadOnlySpan<byte> header, ReadOnlySpan<byte> names) => new(
        TextAt(names, U32(header, 0)), U32(header, 4), Address(header, 8, 8), Address(header, 16, 12), Address(header, 24, 16), Address(header, 32, 20));

    private static string TextAt(ReadOnlySpan<byte> names, uint offset)
    {
        if (offset >= (uint)names.Length)
        {
            return "?";
        }

        ReadOnlySpan<byte> rest = names[(int)offset..];
        int end = rest.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? rest : rest[..end]);
    }

    private ushort U16(ReadOnlySpan<byte> bytes, int at) =>
        IsLittleEndian ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]) : BinaryPrimitives.ReadUInt16BigEndian(bytes[at..]);

    private uint U32(ReadOnlySpan<byte> bytes, int at) =>
        IsLittleEndian ? BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]) : BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    // What has as many bits as an address.
    private ulong Address(ReadOnlySpan<byte> bytes, int at64, int at32)
    {
        if (!Is64Bit)
        {
            return U32(bytes, at32);
        }

        return IsLittleEndian ? BinaryPrimitives.ReadUInt64LittleEndian(bytes[at64..]) : BinaryPrimitives.ReadUInt64BigEndian(bytes[at64..]);
    }
}
