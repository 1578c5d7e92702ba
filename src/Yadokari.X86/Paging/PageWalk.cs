using System.Runtime.CompilerServices;
using Yadokari.Core.Memory;

namespace Yadokari.X86.Paging;

/// <summary>
/// The page walk of the processor (Intel SDM volume 3, chapter 5): 32-bit paging with 4 MiB pages and PSE-36, PAE and 4-level paging.
/// Changes nothing but the accessed and dirty bits in guest memory, allocates nothing, and may be called by all vCPUs at once.
/// The caller checks that the linear address is canonical. Table entries outside RAM read as all ones.
/// </summary>
public static class PageWalk
{
    private const ulong Present = 1 << 0;
    private const ulong Writable = 1 << 1;
    private const ulong UserPage = 1 << 2;
    private const ulong Accessed = 1 << 5;
    private const ulong Dirty = 1 << 6;
    private const ulong LargePage = 1 << 7;
    private const ulong Global = 1 << 8;
    private const ulong NoExecute = 1ul << 63;
    private const ulong Pte32Address = 0xFFFF_F000;

    /// <summary>
    /// Translates for an access: sets accessed bits on every level and, for a write, the dirty bit of the leaf, each by a locked
    /// compare-exchange as the processor does, but only if the access is allowed.
    /// </summary>
    public static PageWalkResult Walk(GuestMemory memory, in PagingContext context, ulong linear, AccessKind access)
    {
        while (true)
        {
            PageWalkResult result = Translate(memory, context, linear, access, out bool mark);
            if (!mark || Mark(memory, context, linear, (access & AccessKind.Write) != 0, result.PhysicalAddress))
            {
                // An allowed write has set the dirty bit, even if the entry was read without it.
                return WithLine20(context, mark && (access & AccessKind.Write) != 0
                    ? PageWalkResult.Found(result.PhysicalAddress, result.PageSize, result.Rights | PageRights.Dirty)
                    : result);
            }

            // Another processor changed an entry meanwhile: walk again.
        }
    }

    /// <summary>Translates without changing guest memory, for debuggers and for prefetching.</summary>
    public static PageWalkResult Probe(GuestMemory memory, in PagingContext context, ulong linear, AccessKind access) =>
        WithLine20(context, Translate(memory, context, linear, access, out _));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PageWalkResult WithLine20(in PagingContext context, PageWalkResult result) => context.WrapsAtMebibyte && result.Succeeded
        ? PageWalkResult.Found(result.PhysicalAddress & ~(1ul << 20), Math.Min(result.PageSize, 4096), result.Rights)
        : result;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PageWalkResult Translate(
        GuestMemory memory, in PagingContext context, ulong linear, AccessKind access, out bool mark)
    {
        switch (context.Mode)
        {
            case PagingMode.Level4:
                return Translate64(memory, context, linear, access, context.Root, shift: 39, out mark);
            case PagingMode.Pae:
                return TranslatePae(memory, context, (uint)linear, access, out mark);
            case PagingMode.Bits32:
                return Translate32(memory, context, (uint)linear, access, out mark);
            default:
                mark = false;
                const PageRights all = PageRights.Readable | PageRights.Writable | PageRights.Executable | PageRights.Dirty;
                return PageWalkResult.Found((uint)linear, 1ul << 30, all);
        }
    }

    private static PageWalkResult Translate64(
        GuestMemory memory, in PagingContext context, ulong linear, AccessKind access, ulong table, int shift, out bool mark)
    {
        mark = false;
        ulong every = ~0ul;
        ulong any = 0;
        while (true)
        {
            ulong entry = ReadEntry(memory, table + ((linear >> shift) & 0x1FF) * 8);
            if ((entry & Present) == 0)
            {
                return PageWalkResult.Fault(ErrorCode(context, access));
            }

            bool leaf = shift == 12 || (shift < 39 && (entry & LargePage) != 0);
            ulong reserved = context.Reserved;
            if (leaf)
            {
                // Address bits inside a large page are reserved, all but bit 12, which is its PAT bit.
                reserved |= shift == 12 ? 0 : ((1ul << shift) - 1) & ~0x1FFFul;
            }
            else if (shift == 39)
            {
                reserved |= LargePage;
            }

            if ((entry & reserved) != 0)
            {
                return PageWalkResult.Fault(ErrorCode(context, access) | PageFaultError.Protection | PageFaultError.Reserved);
            }

            any |= entry;
            if (leaf)
            {
                PageRights rights = Rights(context, access, every & entry, any, entry);
                if (!Allows(rights, access))
                {
                    return PageWalkResult.Fault(ErrorCode(context, access) | PageFaultError.Protection);
                }

                mark = (every & entry & Accessed) == 0 || ((access & AccessKind.Write) != 0 && (entry & Dirty) == 0);
                ulong offset = (1ul << shift) - 1;
                return PageWalkResult.Found((entry & PagingContext.AddressBits & ~offset) | (linear & offset), offset + 1, rights);
            }

            every &= entry;
            table = entry & PagingContext.AddressBits;
            shift -= 9;
        }
    }

    private static PageWalkResult TranslatePae(
        GuestMemory memory, in PagingContext context, uint linear, AccessKind access, out bool mark)
    {
        // The processor may keep these four entries in registers since the last write of CR3; AMD's reads them on each walk, as here.
        ulong pointer = ReadEntry(memory, context.Root + (linear >> 30) * 8);
        mark = false;
        if ((pointer & Present) == 0)
        {
            return PageWalkResult.Fault(ErrorCode(context, access));
        }

        // Bits 1, 2 and 5 to 8 are reserved here: these entries carry no rights (Intel SDM volume 3, table 5-8).
        return (pointer & (context.Reserved | NoExecute | 0x1E6)) != 0
            ? PageWalkResult.Fault(ErrorCode(context, access) | PageFaultError.Protection | PageFaultError.Reserved)
            : Translate64(memory, context, linear, access, pointer & PagingContext.AddressBits, shift: 21, out mark);
    }

    private static PageWalkResult Translate32(
        GuestMemory memory, in PagingContext context, uint linear, AccessKind access, out bool mark)
    {
        mark = false;
        uint directory = ReadEntry32(memory, context.Root + (linear >> 22) * 4);
        if ((directory & Present) == 0)
        {
            return PageWalkResult.Fault(ErrorCode(context, access));
        }

        uint entry = directory;
        ulong page;
        ulong offset;
        if ((directory & LargePage) != 0 && context.PageSizeExtension)
        {
            // PSE-36: bits 13 to 20 are address bits 32 to 39 (Intel SDM volume 3, table 5-4).
            ulong high = ((ulong)directory >> 13) & 0xFF;
            if ((directory & (1u << 21)) != 0 || (high << 32) >> Math.Min(context.PhysicalAddressBits, 40) != 0)
            {
                return PageWalkResult.Fault(ErrorCode(context, access) | PageFaultError.Protection | PageFaultError.Reserved);
            }

            page = (directory & 0xFFC0_0000) | (high << 32);
            offset = 0x3F_FFFF;
        }
        else
        {
            entry = ReadEntry32(memory, (directory & Pte32Address) + ((linear >> 12) & 0x3FF) * 4);
            if ((entry & Present) == 0)
            {
                return PageWalkResult.Fault(ErrorCode(context, access));
            }

            page = entry & Pte32Address;
            offset = 0xFFF;
        }

        PageRights rights = Rights(context, access, directory & entry, 0, entry);
        if (!Allows(rights, access))
        {
            return PageWalkResult.Fault(ErrorCode(context, access) | PageFaultError.Protection);
        }

        mark = (directory & entry & Accessed) == 0 || ((access & AccessKind.Write) != 0 && (entry & Dirty) == 0);
        return PageWalkResult.Found(page | (linear & offset), offset + 1, rights);
    }

    /// <summary>Access rights of a page (Intel SDM volume 3, 5.6.1).</summary>
    /// <param name="context">Registers.</param>
    /// <param name="access">Tells a user access from a supervisor one.</param>
    /// <param name="every">Bits set in the entries of all levels.</param>
    /// <param name="any">Bits set in the entry of any level.</param>
    /// <param name="leaf">The entry that maps the page.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PageRights Rights(in PagingContext context, AccessKind access, ulong every, ulong any, ulong leaf)
    {
        bool userPage = (every & UserPage) != 0;
        bool writable = (every & Writable) != 0;
        bool executable = !context.NoExecute || (any & NoExecute) == 0;
        PageRights rights = PageRights.None;
        if (context.IsUserAccess(access))
        {
            if (userPage)
            {
                rights = PageRights.Readable | (writable ? PageRights.Writable : 0) | (executable ? PageRights.Executable : 0);
            }
        }
        else
        {
            if (!userPage || !context.Smap || (context.AllowUserAccess && (access & AccessKind.Implicit) == 0))
            {
                rights = PageRights.Readable | (writable || !context.WriteProtect ? PageRights.Writable : 0);
            }

            if (executable && !(userPage && context.Smep))
            {
                rights |= PageRights.Executable;
            }
        }

        return rights
            | ((leaf & Dirty) != 0 ? PageRights.Dirty : 0)
            | ((leaf & Accessed) != 0 ? PageRights.Accessed : 0)
            | ((leaf & Global) != 0 && context.GlobalPages ? PageRights.Global : 0)
            | (userPage ? PageRights.User : 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Allows(PageRights rights, AccessKind access)
    {
        PageRights wanted = (access & AccessKind.Execute) != 0 ? PageRights.Executable
            : (access & AccessKind.Write) != 0 ? PageRights.Writable
            : PageRights.Readable;
        return (rights & wanted) != 0;
    }

    private static PageFaultError ErrorCode(in PagingContext context, AccessKind access) =>
        ((access & AccessKind.Write) != 0 ? PageFaultError.Write : 0)
        | (context.IsUserAccess(access) ? PageFaultError.User : 0)
        | ((access & AccessKind.Execute) != 0 && (context.NoExecute || context.Smep) ? PageFaultError.Fetch : 0);

    /// <summary>
    /// Sets the accessed bits of all levels and the dirty bit of the leaf. False if an entry was cleared or changed meanwhile: the caller must walk
    /// again.
    /// </summary>
    private static bool Mark(GuestMemory memory, in PagingContext context, ulong linear, bool dirty, ulong target)
    {
        if (context.Mode == PagingMode.Bits32)
        {
            return Mark32(memory, context, (uint)linear, dirty, target);
        }

        ulong table = context.Root;
        int shift = 39;
        if (context.Mode == PagingMode.Pae)
        {
            linear = (uint)linear;
            ulong pointer = ReadEntry(memory, table + (linear >> 30) * 8);
            if ((pointer & Present) == 0)
            {
                return false;
            }

            table = pointer & PagingContext.AddressBits;
            shift = 21;
        }

        while (true)
        {
            ulong address = table + ((linear >> shift) & 0x1FF) * 8;
            ulong entry = ReadEntry(memory, address);
            bool leaf = shift == 12 || (shift < 39 && (entry & LargePage) != 0);
            ulong marked = entry | Accessed | (leaf && dirty ? Dirty : 0);
            if ((entry & Present) == 0 || (leaf && !StillLeads(context, entry, 1ul << shift, target, dirty))
                || (marked != entry && !memory.CompareExchangeUInt64(address, entry, marked)))
            {
                return false;
            }

            if (leaf)
            {
                return true;
            }

            table = entry & PagingContext.AddressBits;
            shift -= 9;
        }
    }

    private static bool Mark32(GuestMemory memory, in PagingContext context, uint linear, bool dirty, ulong target)
    {
        ulong address = context.Root + (linear >> 22) * 4;
        uint entry = ReadEntry32(memory, address);
        bool large = (entry & LargePage) != 0 && context.PageSizeExtension;
        uint marked = entry | (uint)Accessed | (large && dirty ? (uint)Dirty : 0);
        if ((entry & Present) == 0 || (marked != entry && !memory.CompareExchangeUInt32(address, entry, marked)))
        {
            return false;
        }

        if (large)
        {
            return true;
        }

        address = (entry & Pte32Address) + ((linear >> 12) & 0x3FF) * 4;
        entry = ReadEntry32(memory, address);
        marked = entry | (uint)Accessed | (dirty ? (uint)Dirty : 0);
        return (entry & Present) != 0 && StillLeads(context, entry, 0x1000, target, dirty)
            && (marked == entry || memory.CompareExchangeUInt32(address, entry, marked));
    }

    /// <summary>Whether a leaf still maps the same page with the same rights: one that changed since it was read must not become dirty.</summary>
    private static bool StillLeads(in PagingContext context, ulong entry, ulong pageSize, ulong target, bool dirty)
    {
        ulong page = PagingContext.AddressBits & ~(pageSize - 1);
        return (entry & page) == (target & page) && (!dirty || (entry & Writable) != 0 || !context.WriteProtect);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong ReadEntry(GuestMemory memory, ulong address) => memory.TryReadUInt64(address, out ulong entry) ? entry : ~0ul;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint ReadEntry32(GuestMemory memory, ulong address) => memory.TryReadUInt32(address, out uint entry) ? entry : ~0u;
}
