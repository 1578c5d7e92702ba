using System.Buffers.Binary;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>A segment of an ELF file that is to be loaded (System V gABI, Program Header).</summary>
/// <param name="Offset">In the file.</param>
/// <param name="FileSize">Bytes in the file.</param>
/// <param name="Virtual">Virtual address.</param>
/// <param name="Physical">Physical address.</param>
/// <param name="MemorySize">Bytes in memory; those past <paramref name="FileSize"/> are zero.</param>
public readonly record struct ElfSegment(ulong Offset, ulong FileSize, ulong Virtual, ulong Physical, ulong MemorySize)
{
    /// <summary>First physical address past the segment.</summary>
    public ulong PhysicalEnd => Physical + MemorySize;
}

/// <summary>What a loader needs to know of a little-endian ELF file of 64 or 32 bits.</summary>
public sealed class ElfImage
{
    private const uint LoadType = 1;
    private const uint NoteType = 4;
    private const uint Phys32Entry = 18;
    private const int HeaderSize = 64;
    private const int HeaderSize32 = 52;
    private const int ProgramHeaderSize = 56;
    private const int ProgramHeaderSize32 = 32;

    private ElfImage(ulong entry, IReadOnlyList<ElfSegment> segments, ulong? pvhEntry)
    {
        Segments = segments;
        PvhEntry = pvhEntry;
        Entry = entry;
        foreach (ElfSegment segment in segments)
        {
            // A kernel's entry is a physical address; one that was linked at a virtual address is taken to its segment's physical one.
            if (entry - segment.Virtual < segment.MemorySize && !segments.Any(s => entry - s.Physical < s.MemorySize))
            {
                Entry = segment.Physical + (entry - segment.Virtual);
            }
        }
    }

    /// <summary>Physical address of the entry point.</summary>
    public ulong Entry { get; }

    /// <summary>The 32-bit entry point of a PVH kernel (XEN_ELFNOTE_PHYS32_ENTRY), or null.</summary>
    public ulong? PvhEntry { get; }

    /// <summary>Segments to load, in the file's order.</summary>
    public IReadOnlyList<ElfSegment> Segments { get; }

    /// <summary>First physical address past all segments.</summary>
    public ulong PhysicalEnd => Segments.Max(s => s.PhysicalEnd);

    /// <summary>Reads the headers. Returns null where the file is cut short or contradicts itself.</summary>
    /// <param name="file">The file; the caller has looked at its class, byte order and machine.</param>
    public static ElfImage? Parse(ReadOnlySpan<byte> file)
    {
        bool wide = file.Length > 4 && file[4] == 2;
        if (file.Length < (wide ? HeaderSize : HeaderSize32))
        {
            return null;
        }

        ulong entry = Word(file, 24, 24, wide);
        ulong headers = Word(file, 32, 28, wide);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(file[(wide ? 54 : 42)..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(file[(wide ? 56 : 44)..]);
        int least = wide ? ProgramHeaderSize : ProgramHeaderSize32;
        if (size < least || headers > (ulong)file.Length || (ulong)file.Length - headers < (ulong)(size * count))
        {
            return null;
        }

        List<ElfSegment> segments = [];
        ulong? pvhEntry = null;
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = file.Slice((int)headers + (i * size), least);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(header);
            ulong offset = Word(header, 8, 4, wide);
            ulong virtualAddress = Word(header, 16, 8, wide);
            ulong physical = Word(header, 24, 12, wide);
            ulong fileSize = Word(header, 32, 16, wide);
            ulong memorySize = Word(header, 40, 20, wide);
            if (offset > (ulong)file.Length || fileSize > (ulong)file.Length - offset)
            {
                return null;
            }

            if (type == LoadType && memorySize != 0)
            {
                if (fileSize > memorySize || physical + memorySize < physical)
                {
                    return null;
                }

                segments.Add(new ElfSegment(offset, fileSize, virtualAddress, physical, memorySize));
            }
            else if (type == NoteType)
            {
                pvhEntry ??= FindPvhEntry(file.Slice((int)offset, (int)fileSize));
            }
        }

        return segments.Count == 0 ? null : new ElfImage(entry, segments, pvhEntry);
    }

    private static ulong Word(ReadOnlySpan<byte> bytes, int at64, int at32, bool wide)
        => wide ? BinaryPrimitives.ReadUInt64LittleEndian(bytes[at64..]) : BinaryPrimitives.ReadUInt32LittleEndian(bytes[at32..]);

    private static ulong? FindPvhEntry(ReadOnlySpan<byte> notes)
    {
        while (notes.Length >= 12)
        {
            uint nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes);
            uint valueSize = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
            long valueStart = 12 + ((nameSize + 3L) & ~3L);
            long end = valueStart + ((valueSize + 3L) & ~3L);
            if (valueStart + valueSize > notes.Length)
            {
                return null;
            }

            if (type == Phys32Entry && nameSize == 4 && notes.Slice(12, 4).SequenceEqual("Xen\0"u8) && valueSize is 4 or 8)
            {
                ReadOnlySpan<byte> value = notes[(int)valueStart..];
                return valueSize == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(value) : BinaryPrimitives.ReadUInt64LittleEndian(value);
            }

            notes = end >= notes.Length ? default : notes[(int)end..];
        }

        return null;
    }
}
