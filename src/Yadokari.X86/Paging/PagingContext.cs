using System.Runtime.CompilerServices;

namespace Yadokari.X86.Paging;

/// <summary>Paging modes (Intel SDM volume 3, 5.1.1).</summary>
public enum PagingMode : byte
{
    /// <summary>CR0.PG is clear: linear addresses are physical ones.</summary>
    None,

    /// <summary>Two levels of 4-byte entries.</summary>
    Bits32,

    /// <summary>Three levels of 8-byte entries.</summary>
    Pae,

    /// <summary>Four levels of 8-byte entries.</summary>
    Level4,
}

/// <summary>The kind of an access. Read is the absence of the first two flags.</summary>
[Flags]
public enum AccessKind : byte
{
    /// <summary>Data is read.</summary>
    Read = 0,

    /// <summary>Data is written, or read and written.</summary>
    Write = 1,

    /// <summary>An instruction is fetched.</summary>
    Execute = 2,

    /// <summary>
    /// A supervisor access whatever the CPL: to the GDT, LDT, IDT or TSS (Intel SDM volume 3, 5.6). SMAP then ignores RFLAGS.AC.
    /// </summary>
    Implicit = 4,
}

/// <summary>The register state that translation depends on. Created when a control register, the CPL or RFLAGS.AC changes; cheap to create and pass.</summary>
public readonly struct PagingContext
{
    internal const ulong AddressBits = 0x000F_FFFF_FFFF_F000;

    /// <summary>Creates a context from the registers.</summary>
    /// <param name="cr0">CR0.</param>
    /// <param name="cr3">CR3; the PCID and the flags in its low bits are ignored.</param>
    /// <param name="cr4">CR4. LA57, PKE and PKS are not offered to guests and ignored here.</param>
    /// <param name="efer">IA32_EFER.</param>
    /// <param name="user">CPL is 3.</param>
    /// <param name="allowUserAccess">RFLAGS.AC: explicit supervisor accesses to user pages are allowed under SMAP.</param>
    /// <param name="physicalAddressBits">MAXPHYADDR, 32 to 52, as CPUID leaf 0x80000008 tells the guest.</param>
    public PagingContext(ulong cr0, ulong cr3, ulong cr4, ulong efer, bool user, bool allowUserAccess, int physicalAddressBits)
    {
        Mode = (cr0 & Cr0.PG) == 0 ? PagingMode.None
            : (cr4 & Cr4.PAE) == 0 ? PagingMode.Bits32
            : (efer & Efer.LMA) == 0 ? PagingMode.Pae
            : PagingMode.Level4;
        User = user;
        AllowUserAccess = allowUserAccess;
        WriteProtect = (cr0 & Cr0.WP) != 0;
        PageSizeExtension = (cr4 & Cr4.PSE) != 0;
        GlobalPages = (cr4 & Cr4.PGE) != 0;
        Smep = (cr4 & Cr4.SMEP) != 0;
        Smap = (cr4 & Cr4.SMAP) != 0;
        NoExecute = (efer & Efer.NXE) != 0 && (cr4 & Cr4.PAE) != 0;
        PhysicalAddressBits = physicalAddressBits;
        ulong beyond = AddressBits & ~((1ul << physicalAddressBits) - 1);
        Reserved = beyond
            | (NoExecute ? 0ul : 1ul << 63)
            | (Mode == PagingMode.Pae ? 0x7FF0_0000_0000_0000ul : 0ul);
        Root = Mode switch
        {
            PagingMode.Level4 => cr3 & AddressBits,
            PagingMode.Pae => cr3 & 0xFFFF_FFE0,
            _ => cr3 & 0xFFFF_F000,
        };
    }

    /// <summary>The kind of page tables.</summary>
    public PagingMode Mode { get; }

    /// <summary>A20 is disabled: bit 20 of the resulting address is 0. Addresses of page tables are not affected.</summary>
    public bool WrapsAtMebibyte { get; init; }

    /// <summary>CPL is 3.</summary>
    public bool User { get; }

    /// <summary>RFLAGS.AC.</summary>
    public bool AllowUserAccess { get; }

    /// <summary>CR0.WP.</summary>
    public bool WriteProtect { get; }

    /// <summary>CR4.PSE.</summary>
    public bool PageSizeExtension { get; }

    /// <summary>CR4.PGE.</summary>
    public bool GlobalPages { get; }

    /// <summary>CR4.SMEP.</summary>
    public bool Smep { get; }

    /// <summary>CR4.SMAP.</summary>
    public bool Smap { get; }

    /// <summary>EFER.NXE with tables that have a no-execute bit.</summary>
    public bool NoExecute { get; }

    /// <summary>MAXPHYADDR.</summary>
    public int PhysicalAddressBits { get; }

    /// <summary>Physical address of the top table.</summary>
    public ulong Root { get; }

    /// <summary>Bits that must be zero in every present 8-byte entry.</summary>
    internal ulong Reserved { get; }

    /// <summary>Whether an access of this kind is made with user rights.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsUserAccess(AccessKind access) => User && (access & AccessKind.Implicit) == 0;
}
