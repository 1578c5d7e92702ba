using System.Buffers.Binary;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Dump;

/// <summary>
/// Shows the page table entries that translate a linear address, level by level, without setting accessed and dirty bits (Intel SDM volume 3,
/// chapter 4). It reads memory; a TLB may still have older entries.
/// </summary>
public static class PageWalkTrace
{
    private const ulong AddressMask = 0x000F_FFFF_FFFF_F000;
    private const ulong Present = 1;
    private const ulong Large = 1 << 7;
    private const ulong Paging = 1UL << 31;
    private const ulong PageSizeExtensions = 1 << 4;
    private const ulong PhysicalAddressExtension = 1 << 5;
    private const ulong FiveLevels = 1 << 12;
    private const ulong LongModeActive = 1 << 10;

    private static readonly string[] s_levels = ["", "PTE", "PDE", "PDPTE", "PML4E", "PML5E"];

    /// <summary>Writes the walk, one line for each level, and its result. Returns the physical address, or null if the address is not mapped.</summary>
    public static ulong? Write(TextWriter writer, X86State state, GuestMemory memory, ulong address)
    {
        if ((state.Cr0 & Paging) == 0)
        {
            writer.WriteLine($"  {address:x16}: paging is off, physical address {address:x}");
            return address;
        }

        bool longMode = (state.Efer & LongModeActive) != 0;
        bool wide = longMode || (state.Cr4 & PhysicalAddressExtension) != 0;
        int levels = longMode ? (state.Cr4 & FiveLevels) != 0 ? 5 : 4 : wide ? 3 : 2;
        int indexBits = wide ? 9 : 10;
        int linearBits = longMode ? 12 + (9 * levels) : 32;
        if (longMode && (ulong)((long)address << (64 - linearBits) >> (64 - linearBits)) != address)
        {
            writer.WriteLine($"  {address:x16}: not canonical");
            return null;
        }

        // PAE's table of four pointers is aligned to 32 bytes, all other tables to a page.
        ulong table = levels == 3 ? state.Cr3 & 0xFFFF_FFE0 : state.Cr3 & AddressMask;
        writer.WriteLine($"  {address:x16}: cr3 {state.Cr3:x16}, {levels} levels");
        Span<byte> bytes = stackalloc byte[8];
        for (int level = levels; level >= 1; level--)
        {
            int shift = 12 + (indexBits * (level - 1));
            ulong index = address >> shift & ((1UL << indexBits) - 1);
            if (levels == 3 && level == 3)
            {
                index &= 3;
            }

            int size = wide ? 8 : 4;
            ulong location = table + (index * (ulong)size);
            bytes.Clear();
            if (!memory.Read(location, bytes[..size]))
            {
                writer.WriteLine($"  {s_levels[level],-6} [{index,4}] at {location:x} is not in RAM");
                return null;
            }

            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            bool page = level == 1
                || ((entry & Large) != 0 && (level == 2 || (level == 3 && longMode)) && (wide || (state.Cr4 & PageSizeExtensions) != 0));
            writer.WriteLine($"  {s_levels[level],-6} [{index,4}] at {location:x} = {entry:x16} {Flags(entry, page, level)}");
            if ((entry & Present) == 0)
            {
                writer.WriteLine("  not mapped");
                return null;
            }

            if (page)
            {
                ulong within = (1UL << shift) - 1;
                ulong frame = entry & AddressMask & ~within;
                if (!wide && level == 2)
                {
                    // PSE-36: bits 13 to 20 of a 4 MiB entry are bits 32 to 39 of the address.
                    frame = (entry & 0xFFC0_0000) | ((entry >> 13 & 0xFF) << 32);
                }

                ulong physical = frame | (address & within);
                writer.WriteLine($"  physical address {physical:x}{(memory.HostAddress(physical) == 0 ? ", not RAM" : "")}");
                return physical;
            }

            table = entry & AddressMask;
        }

        return null;
    }

    private static string Flags(ulong entry, bool page, int level)
    {
        if ((entry & Present) == 0)
        {
            return "-";
        }

        string size = page && level > 1 ? " large" : "";
        return ((entry & 2) != 0 ? "rw" : "ro") + ((entry & 4) != 0 ? " user" : " super") + ((entry & 0x20) != 0 ? " A" : "")
            + (page && (entry & 0x40) != 0 ? " D" : "") + (page && (entry & 0x100) != 0 ? " G" : "") + ((entry & 0x10) != 0 ? " uncached" : "")
            + (entry >> 63 != 0 ? " NX" : "") + size;
    }
}
