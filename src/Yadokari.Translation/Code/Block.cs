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

    /// <summary>The access writes.</summary>
    public byte Write;

    /// <summary>The access is the first of several (<see cref="Extra"/> instructions) around this register that one check stands for.</summary>
    public byte Base;
}

/// <summary>A translated run of guest instructions. Once the code cache was cleared it describes another: see <see cref="Begin"/>.</summary>
/// <param name="id">Its number among the blocks of the cache.</param>
internal sealed unsafe class Block(int id)
{
    public int Id => id;

    /// <summary>Guest physical address of the first byte.</summary>
    public ulong Gpa { get; private set; }

    /// <summary>Linear page address it was translated for; meaningful for blocks that are not position independent.</summary>
    public ulong LinearPage { get; private set; }

    public CpuMode Mode { get; private set; }

    /// <summary>Guest bytes covered.</summary>
    public int Length { get; private set; }

    /// <summary>Entry for direct jumps: flags in the host's flags.</summary>
    public byte* Entry { get; set; }

    /// <summary>As <see cref="Entry"/>, from blocks that contain SIMD instructions themselves: the guest's state is in the registers.</summary>
    public byte* LiveEntry { get; set; }

    /// <summary>Entry for direct jumps: flags in AX, RAX saved.</summary>
    public byte* SavedEntry { get; set; }

    /// <summary>Entry for jumps that looked the target up: flags in AX, RAX saved, r15 the linear address.</summary>
    public byte* AxEntry { get; set; }

    /// <summary>End of the block's host code but for its ways out.</summary>
    public byte* End { get; set; }

    /// <summary>Its ways out, in the other half of the cache: up to <see cref="Table"/>.</summary>
    public byte* Cold { get; set; }

    /// <summary>In <see cref="Table"/>, beside an offset in the page: the instruction runs while the flags are in AX and RAX is saved.</summary>
    public const int AxSaved = 0x8000;

    /// <summary>Guest and host offsets of each instruction, pairs of 16-bit numbers, within the code cache (writable view).</summary>
    public ushort* Table { get; set; }

    public int Instructions { get; set; }

    /// <summary>Contains x87 or SIMD instructions.</summary>
    public bool UsesSimd { get; set; }

    /// <summary>Its x87 instructions in their order, or null: <see cref="X87Note"/>.</summary>
    public X87Note[]? X87Notes { get; set; }

    /// <summary>How often a check for several accesses failed.</summary>
    public int SharingFailures { get; set; }

    /// <summary>Could not be translated: leaves its only instruction to the emulator.</summary>
    public bool Refused { get; private set; }

    /// <summary>Still what the guest's memory says.</summary>
    public bool Valid { get; set; }

    /// <summary>Second page, where the only instruction crosses a page boundary; 0 otherwise.</summary>
    public ulong SecondGpa { get; set; }

    /// <summary>Which epoch the check at the start compares: that of global pages, where the second page was one.</summary>
    public bool SecondGlobal { get; set; }

    /// <summary>Jumps of other blocks that come here: addresses of displacements, and the stubs they go to when this block dies.</summary>
    public List<(nint Displacement, nint Unlinked)>? Incoming { get; set; }

    /// <summary>Describes other code from now on, which is about to be translated.</summary>
    public void Begin(ulong gpa, ulong linearPage, CpuMode mode, int length, bool refused = false)
    {
        (Gpa, LinearPage, Mode, Length, Refused) = (gpa, linearPage, mode, length, refused);
        (UsesSimd, SharingFailures, SecondGpa, SecondGlobal, Valid) = (false, 0, 0, false, true);
    }
}
