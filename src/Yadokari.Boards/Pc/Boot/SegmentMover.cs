using Yadokari.Core.Files;
using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>Moves the segments of an ELF file in guest memory to their physical addresses.</summary>
internal static class SegmentMover
{
    /// <summary>Afterwards the range of the file that no segment covers is zero, and so is the rest of each segment.</summary>
    /// <param name="memory">The guest's RAM; the file and each segment must be within one region.</param>
    /// <param name="segments">The file's segments.</param>
    /// <param name="file">Address of the file.</param>
    /// <param name="length">The file's length.</param>
    public static void Move(GuestMemory memory, IReadOnlyList<ElfSegment> segments, ulong file, ulong length)
    {
        List<ElfSegment> waiting = [.. segments];
        while (waiting.Count > 0)
        {
            // A segment can be moved if its destination overlaps no other segment's source. If no segment can, one is copied to a buffer first.
            int next = waiting.FindIndex(s => !waiting.Any(other => other != s && Overlaps(s.Physical, s.FileSize, file + other.Offset, other.FileSize)));
            if (next < 0)
            {
                MoveByCopies(memory, waiting, file);
                break;
            }

            ElfSegment segment = waiting[next];
            waiting.RemoveAt(next);
            if (segment.Physical != file + segment.Offset)
            {
                memory.TrySlice(file + segment.Offset, (int)segment.FileSize, out Span<byte> source);
                memory.TrySlice(segment.Physical, (int)segment.FileSize, out Span<byte> target);
                source.CopyTo(target);
                memory.Written(segment.Physical, segment.FileSize);
            }
        }

        ClearRest(memory, segments, file, file + length);
    }

    private static void MoveByCopies(GuestMemory memory, List<ElfSegment> segments, ulong file)
    {
        byte[][] copies = new byte[segments.Count][];
        for (int i = 0; i < copies.Length; i++)
        {
            copies[i] = new byte[segments[i].FileSize];
            memory.Read(file + segments[i].Offset, copies[i]);
        }

        for (int i = 0; i < copies.Length; i++)
        {
            memory.Write(segments[i].Physical, copies[i]);
        }
    }

    private static void ClearRest(GuestMemory memory, IReadOnlyList<ElfSegment> segments, ulong start, ulong end)
    {
        ulong position = start;
        foreach (ElfSegment segment in segments.OrderBy(s => s.Physical))
        {
            BootLoader.Clear(memory, position, Math.Min(segment.Physical, end));
            BootLoader.Clear(memory, segment.Physical + segment.FileSize, segment.PhysicalEnd);
            position = Math.Max(position, segment.PhysicalEnd);
        }

        BootLoader.Clear(memory, position, end);
    }

    private static bool Overlaps(ulong a, ulong aLength, ulong b, ulong bLength) => a < b + bLength && b < a + aLength;
}
