using System.Buffers.Binary;
using Yadokari.Core.Files;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The parts of a little-endian ELF file of 64 or 32 bits that a loader needs.</summary>
public sealed class ElfImage
{
    private const uint Phys32Entry = 18;

    private ElfImage(ulong entry, IReadOnlyList<ElfSegment> segments, ulong? pvhEntry)
    {
        Segments = segments;
        PvhEntry = pvhEntry;
        Entry = entry;
        foreach (ElfSegment segment in segments)
        {
            // A kernel's entry is a physical address; a virtual one is converted by the segment that contains it.
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

    /// <summary>Parses the program headers and notes. Returns null if the file is truncated or its headers are inconsistent.</summary>
    /// <param name="file">The file; the caller has checked its byte order and machine.</param>
    public static ElfImage? Parse(ElfFile file)
    {
        if (!file.TryReadSegments(out ElfSegment[] all))
        {
            return null;
        }

        List<ElfSegment> segments = [];
        ulong? pvhEntry = null;
        foreach (ElfSegment segment in all)
        {
            if (!file.TryGetContents(segment.Offset, segment.FileSize, out ReadOnlySpan<byte> contents))
            {
                return null;
            }

            if (segment.Type == ElfFile.Load && segment.MemorySize != 0)
            {
                if (segment.FileSize > segment.MemorySize || segment.PhysicalEnd < segment.Physical)
                {
                    return null;
                }

                segments.Add(segment);
            }
            else if (segment.Type == ElfFile.Note)
            {
                pvhEntry ??= FindPvhEntry(contents);
            }
        }

        return segments.Count == 0 ? null : new ElfImage(file.Entry, segments, pvhEntry);
    }

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
