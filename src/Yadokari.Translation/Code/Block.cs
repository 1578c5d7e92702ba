using System.Runtime.InteropServices;

namespace Yadokari.Translation.Code;

/// <summary>Why translated code returned to C#.</summary>
internal enum SiteKind : byte
{
    /// <summary>A memory access missed the TLB; <see cref="VcpuState.ExitValue"/> is the linear address.</summary>
    Miss,

    /// <summary>A memory access failed the fast check of its segment's limit.</summary>
    Limit,

    /// <summary>The instruction is to be emulated; <see cref="Site.Extra"/> is its number among the decoded ones.</summary>
    Emulate,

    /// <summary>A direct jump that is not linked yet; <see cref="Site.Extra"/> is not zero if the guest's flags are in AX.</summary>
    Link,

    /// <summary>
    /// A jump looked up each time (indirect, or direct to another page: then <see cref="Site.Resume"/> is its displacement, and
    /// <see cref="Site.Extra"/> as for <see cref="Link"/>); <see cref="VcpuState.ExitValue"/> is the target.
    /// </summary>
    Lookup,

    /// <summary>A poll found <see cref="VcpuState.Pending"/> set; RIP is the target.</summary>
    Poll,

    /// <summary>End of a block of a single instruction.</summary>
    Step,

    /// <summary>Start of an instruction that crosses pages, after a TLB flush: the mapping of its second page must be checked.</summary>
    Recheck,

    /// <summary>
    /// An indirect jump or a return reached no valid block: the block was invalidated while a jump cache still held it, or the return reached
    /// the bottom of the return stack, an entry for address 0. <see cref="VcpuState.ExitValue"/> is the address. Belongs to no block.
    /// </summary>
    Invalidated,
}

/// <summary>Description of an exit, placed in the code cache behind the call that exits.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct Site
{
    /// <summary>The block's number.</summary>
    public int Block;

    /// <summary>Linear address of the instruction (or, of a jump, its target), from the start of the block's page.</summary>
    public int GuestOffset;

    /// <summary>Offset from this structure to the code to resume at, or to the displacement to patch.</summary>
    public int Resume;

    /// <summary>Meaning depends on <see cref="Kind"/>.</summary>
    public int Extra;

    public SiteKind Kind;

    /// <summary>Bytes accessed.</summary>
    public byte Size;

    /// <summary>Not zero if the access is a write.</summary>
    public byte Write;

    /// <summary>Base register of a shared check: the access is the first of several, in <see cref="Extra"/> instructions, that share it.</summary>
    public byte Base;
}

/// <summary>A translated sequence of guest instructions. After a flush of the code cache, the object is reused (<see cref="Begin"/>).</summary>
/// <param name="id">Its number among the blocks of the cache.</param>
internal sealed unsafe class Block(int id)
{
    public int Id => id;

    /// <summary>Guest physical address of the first byte.</summary>
    public ulong Gpa { get; private set; }

    /// <summary>Linear page for which it was translated; only for blocks that are not position-independent.</summary>
    public ulong LinearPage { get; private set; }

    public CpuMode Mode { get; private set; }

    /// <summary>Number of guest bytes.</summary>
    public int Length { get; private set; }

    /// <summary>Entry for direct jumps: flags in the host's flags.</summary>
    public byte* Entry { get; set; }

    /// <summary>As <see cref="Entry"/>, for jumps from blocks that use SIMD: the guest's SIMD state is loaded.</summary>
    public byte* LiveEntry { get; set; }

    /// <summary>Entry for direct jumps: flags in AX, RAX saved.</summary>
    public byte* SavedEntry { get; set; }

    /// <summary>Entry for jumps through the jump cache: flags in AX, RAX saved, r15 the linear address.</summary>
    public byte* AxEntry { get; set; }

    /// <summary>End of the block's host code without its exits.</summary>
    public byte* End { get; set; }

    /// <summary>Start of its exits, in the cold half of the cache; they end at <see cref="Table"/>.</summary>
    public byte* Cold { get; set; }

    /// <summary>Flag in the guest offsets of <see cref="Table"/>: while the instruction runs, the guest's flags are in AX and RAX is saved.</summary>
    public const int AxSaved = 0x8000;

    /// <summary>Guest and host offsets of each instruction, pairs of 16-bit numbers, within the code cache (writable view).</summary>
    public ushort* Table { get; set; }

    public int Instructions { get; set; }

    /// <summary>Whether it contains x87 or SIMD instructions.</summary>
    public bool UsesSimd { get; set; }

    /// <summary>Its x87 instructions in order; null if none.</summary>
    public X87Note[]? X87Notes { get; set; }

    /// <summary>How often a shared check failed.</summary>
    public int SharingFailures { get; set; }

    /// <summary>Whether translation failed: its only instruction is emulated.</summary>
    public bool Refused { get; private set; }

    /// <summary>Whether it still agrees with guest memory and may run.</summary>
    public bool Valid { get; set; }

    /// <summary>Guest physical address of the second page, if its only instruction crosses a page boundary; else 0.</summary>
    public ulong SecondGpa { get; set; }

    /// <summary>Whether the check at its start compares the epoch of global pages, because the second page was global.</summary>
    public bool SecondGlobal { get; set; }

    /// <summary>Jumps linked to this block: addresses of their displacements, and their targets after unlinking.</summary>
    public List<(nint Displacement, nint Unlinked)>? Incoming { get; set; }

    /// <summary>Initializes the object for a new translation.</summary>
    public void Begin(ulong gpa, ulong linearPage, CpuMode mode, int length, bool refused = false)
    {
        (Gpa, LinearPage, Mode, Length, Refused) = (gpa, linearPage, mode, length, refused);
        (UsesSimd, SharingFailures, SecondGpa, SecondGlobal, Valid) = (false, 0, 0, false, true);
    }
}
