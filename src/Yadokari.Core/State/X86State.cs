namespace Yadokari.Core.State;

/// <summary>A segment register with its hidden part.</summary>
/// <param name="Selector">The visible part.</param>
/// <param name="Base">Linear base address.</param>
/// <param name="Limit">In bytes, inclusive, after the granularity bit was applied.</param>
/// <param name="Attributes">
/// Bits 0 to 3 type, 4 S, 5 and 6 DPL, 7 present, 12 AVL, 13 L, 14 D/B, 15 G: bits 8 to 23 of a descriptor's second word, shifted down
/// (Intel SDM volume 3, 3.4.5). 0 is an unusable (null) segment.
/// </param>
public readonly record struct SegmentState(ushort Selector, ulong Base, uint Limit, ushort Attributes);

/// <summary>GDTR or IDTR.</summary>
public readonly record struct TableState(ulong Base, ushort Limit);

/// <summary>The architectural state of one x86-64 processor: the one exchange format between engines, debuggers and snapshots.</summary>
public sealed partial class X86State
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15: the order of their encoding.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    /// <summary>Instruction pointer: offset in CS.</summary>
    public ulong Rip { get; set; }

    /// <summary>RFLAGS; bit 1 always set.</summary>
    public ulong Rflags { get; set; } = 2;

    /// <summary>ES CS SS DS FS GS: the order of their encoding.</summary>
    public SegmentState[] Segments { get; } = new SegmentState[6];

    /// <summary>Task register.</summary>
    public SegmentState Tr { get; set; }

    /// <summary>Local descriptor table register.</summary>
    public SegmentState Ldtr { get; set; }

    /// <summary>Global descriptor table register.</summary>
    public TableState Gdtr { get; set; }

    /// <summary>Interrupt descriptor table register.</summary>
    public TableState Idtr { get; set; }

    /// <summary>Control register 0.</summary>
    public ulong Cr0 { get; set; }

    /// <summary>Page-fault linear address.</summary>
    public ulong Cr2 { get; set; }

    /// <summary>Page-table base and PCID.</summary>
    public ulong Cr3 { get; set; }

    /// <summary>Control register 4.</summary>
    public ulong Cr4 { get; set; }

    /// <summary>Extended state enabled by XSETBV.</summary>
    public ulong Xcr0 { get; set; } = 1;

    /// <summary>Extended feature enable register.</summary>
    public ulong Efer { get; set; }

    /// <summary>DR0 to DR3, unused, unused, DR6, DR7.</summary>
    public ulong[] Dr { get; } = new ulong[8];

    /// <summary>An NMI waits to be taken.</summary>
    public bool NmiPending { get; set; }

    /// <summary>An NMI's handler runs: another one waits until the next IRET (Intel SDM volume 3, 6.7.1).</summary>
    public bool NmiBlocked { get; set; }

    /// <summary>Other model-specific registers the engine keeps, by index (IA32_STAR, IA32_LSTAR, ..., IA32_TSC).</summary>
    public Dictionary<uint, ulong> Msrs { get; } = [];

    /// <summary>x87, SSE, AVX and AVX-512 state as an XSAVE area in the standard format (Intel SDM volume 1, 13.4).</summary>
    public byte[] Xsave { get; set; } = [];
}
