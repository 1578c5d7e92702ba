using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The type of a range of physical addresses, numbered as in ACPI 6.5, 15.3 (E820) and in PVH's memory map.</summary>
public enum MemoryKind : uint
{
    /// <summary>RAM that the kernel may use.</summary>
    Ram = 1,

    /// <summary>Reserved: the kernel must not use it.</summary>
    Reserved = 2,
}

/// <summary>One entry of the memory map for a kernel.</summary>
public readonly record struct MemoryRange(ulong Start, ulong Length, MemoryKind Kind);

/// <summary>The memory map for a kernel.</summary>
public static class MemoryMap
{
    /// <summary>RAM without the BIOS area, which is reserved, in ascending order.</summary>
    public static IReadOnlyList<MemoryRange> Of(GuestMemory memory)
    {
        List<MemoryRange> map = [];
        foreach (MemoryRegion region in memory.Regions)
        {
            if (region.Gpa >= PcLayout.ExtendedMemory)
            {
                map.Add(new MemoryRange(region.Gpa, region.Length, MemoryKind.Ram));
                continue;
            }

            map.Add(new MemoryRange(0, PcLayout.ConventionalEnd, MemoryKind.Ram));
            map.Add(new MemoryRange(PcLayout.ConventionalEnd, PcLayout.ExtendedMemory - PcLayout.ConventionalEnd, MemoryKind.Reserved));
            if (region.End > PcLayout.ExtendedMemory)
            {
                map.Add(new MemoryRange(PcLayout.ExtendedMemory, region.End - PcLayout.ExtendedMemory, MemoryKind.Ram));
            }
        }

        return map;
    }

    /// <summary>The end of the RAM that starts at 0.</summary>
    public static ulong LowEnd(GuestMemory memory) => memory.Regions.Length > 0 && memory.Regions[0].Gpa == 0 ? memory.Regions[0].End : 0;
}
