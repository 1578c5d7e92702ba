using System.Runtime.CompilerServices;
using Yadokari.X86.State;

namespace Yadokari.X86.Segments;

/// <summary>
/// A segment or gate descriptor as it lies in a descriptor table (Intel SDM volume 3, 3.4.5, 7.14 and 6.8.3). Eight bytes; system
/// descriptors of 64-bit mode carry eight more in <paramref name="High"/>.
/// </summary>
/// <param name="Low">The first eight bytes.</param>
/// <param name="High">The next eight, for a system descriptor in 64-bit mode; otherwise 0.</param>
public readonly record struct Descriptor(ulong Low, ulong High = 0)
{
    /// <summary>The bits of the type field that tell code from data, for code and data segments.</summary>
    public const int CodeBit = 8;

    /// <summary>Type, S, DPL, P, AVL, L, D/B, G in the places of <see cref="SegmentState.Attributes"/>.</summary>
    public ushort Attributes => (ushort)((Low >> 40) & 0xF0FF);

    /// <summary>Bits 0 to 3: the type.</summary>
    public int Type => (int)(Low >> 40) & 0xF;

    /// <summary>A code or data segment, not a system segment or gate.</summary>
    public bool IsCodeOrData => ((Low >> 44) & 1) != 0;

    /// <summary>Privilege level of the descriptor.</summary>
    public int Dpl => (int)(Low >> 45) & 3;

    /// <summary>Whether it is present.</summary>
    public bool IsPresent => ((Low >> 47) & 1) != 0;

    /// <summary>A code segment.</summary>
    public bool IsCode => IsCodeOrData && (Type & CodeBit) != 0;

    /// <summary>A data segment.</summary>
    public bool IsData => IsCodeOrData && (Type & CodeBit) == 0;

    /// <summary>A code segment that code of lower privilege may enter without a change of CPL.</summary>
    public bool IsConforming => IsCode && (Type & 4) != 0;

    /// <summary>A data segment whose limit bounds it from below.</summary>
    public bool IsExpandDown => IsData && (Type & 4) != 0;

    /// <summary>Data that may be written.</summary>
    public bool IsWritable => IsData && (Type & 2) != 0;

    /// <summary>Data, or code that may be read.</summary>
    public bool IsReadable => IsData || (IsCode && (Type & 2) != 0);

    /// <summary>A data or code segment that was used: bit 0 of the type.</summary>
    public bool IsAccessed => IsCodeOrData && (Type & 1) != 0;

    /// <summary>L: code for 64-bit mode.</summary>
    public bool IsLong => ((Low >> 53) & 1) != 0;

    /// <summary>D/B: 32-bit operands and addresses, or a 32-bit stack.</summary>
    public bool IsBig => ((Low >> 54) & 1) != 0;

    /// <summary>The base; 64 bits with <see cref="High"/>.</summary>
    public ulong Base => ((Low >> 16) & 0xFF_FFFF) | ((Low >> 32) & 0xFF00_0000) | (High << 32);

    /// <summary>The limit in bytes, inclusive, with the granularity bit applied.</summary>
    public uint Limit
    {
        get
        {
            uint raw = (uint)(Low & 0xFFFF) | ((uint)(Low >> 32) & 0xF_0000);
            return ((Low >> 55) & 1) != 0 ? (raw << 12) | 0xFFF : raw;
        }
    }

    /// <summary>Gate: the selector to go through.</summary>
    public ushort GateSelector => (ushort)(Low >> 16);

    /// <summary>Gate: the offset to go to; 64 bits with <see cref="High"/>.</summary>
    public ulong GateOffset => (Low & 0xFFFF) | ((Low >> 32) & 0xFFFF_0000) | (High << 32);

    /// <summary>64-bit interrupt and trap gates: the interrupt stack table entry, 1 to 7, or 0.</summary>
    public int GateStack => (int)(Low >> 32) & 7;

    /// <summary>32-bit call gates: how many parameters are copied.</summary>
    public int GateParameters => (int)(Low >> 32) & 0x1F;

    /// <summary>The system type, meaningful where not <see cref="IsCodeOrData"/>.</summary>
    public SystemType SystemType => (SystemType)Type;

    /// <summary>What a segment register holds after it was loaded with this descriptor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public SegmentState ToState(ushort selector) => new(selector, Base, Limit, Attributes);

    /// <summary>The descriptor with its accessed bit set, as the processor writes it back.</summary>
    public Descriptor WithAccessed() => this with { Low = Low | (1ul << 40) };

    /// <summary>The descriptor of a TSS marked busy or available.</summary>
    public Descriptor WithBusy(bool busy) => this with { Low = busy ? Low | (1ul << 41) : Low & ~(1ul << 41) };

    /// <summary>Builds a segment descriptor; for tests and for machines that start a guest in protected mode.</summary>
    /// <param name="segmentBase">The base.</param>
    /// <param name="limit">In bytes, inclusive; with G set in the attributes its low 12 bits are lost.</param>
    /// <param name="attributes">As in <see cref="SegmentState.Attributes"/>.</param>
    public static Descriptor Segment(ulong segmentBase, uint limit, ushort attributes)
    {
        uint raw = (attributes & SegmentAttributes.Granularity) != 0 ? limit >> 12 : limit;
        ulong low = (raw & 0xFFFF)
            | ((segmentBase & 0xFF_FFFF) << 16)
            | ((ulong)(attributes & 0xF0FF) << 40)
            | ((ulong)(raw & 0xF_0000) << 32)
            | ((segmentBase & 0xFF00_0000) << 32);
        return new Descriptor(low, (attributes & SegmentAttributes.CodeOrData) == 0 ? segmentBase >> 32 : 0);
    }

    /// <summary>The name of the type, for debuggers: "code, execute/read, accessed", "64-bit interrupt gate".</summary>
    /// <param name="longMode">EFER.LMA: 16-bit system types are then reserved and others mean their 64-bit kinds.</param>
    public string TypeName(bool longMode)
    {
        if (IsCode)
        {
            return "code, " + (IsReadable ? "execute/read" : "execute-only") + (IsConforming ? ", conforming" : "")
                + (IsAccessed ? ", accessed" : "");
        }

        if (IsData)
        {
            return "data, " + (IsWritable ? "read/write" : "read-only") + (IsExpandDown ? ", expand-down" : "")
                + (IsAccessed ? ", accessed" : "");
        }

        string width = longMode ? "64-bit " : "32-bit ";
        return SystemType switch
        {
            SystemType.Ldt => "LDT",
            SystemType.Tss or SystemType.BusyTss => width + (SystemType == SystemType.BusyTss ? "TSS, busy" : "TSS, available"),
            SystemType.CallGate => width + "call gate",
            SystemType.InterruptGate => width + "interrupt gate",
            SystemType.TrapGate => width + "trap gate",
            _ when longMode => "reserved",
            SystemType.Tss16 => "16-bit TSS, available",
            SystemType.BusyTss16 => "16-bit TSS, busy",
            SystemType.CallGate16 => "16-bit call gate",
            SystemType.TaskGate => "task gate",
            SystemType.InterruptGate16 => "16-bit interrupt gate",
            SystemType.TrapGate16 => "16-bit trap gate",
            _ => "reserved",
        };
    }
}

/// <summary>Types of system segments and gates (Intel SDM volume 3, table 3-2).</summary>
public enum SystemType : byte
{
    /// <summary>Available 16-bit TSS.</summary>
    Tss16 = 1,

    /// <summary>Local descriptor table.</summary>
    Ldt = 2,

    /// <summary>Busy 16-bit TSS.</summary>
    BusyTss16 = 3,

    /// <summary>16-bit call gate.</summary>
    CallGate16 = 4,

    /// <summary>Task gate.</summary>
    TaskGate = 5,

    /// <summary>16-bit interrupt gate.</summary>
    InterruptGate16 = 6,

    /// <summary>16-bit trap gate.</summary>
    TrapGate16 = 7,

    /// <summary>Available 32-bit or 64-bit TSS.</summary>
    Tss = 9,

    /// <summary>Busy 32-bit or 64-bit TSS.</summary>
    BusyTss = 11,

    /// <summary>32-bit or 64-bit call gate.</summary>
    CallGate = 12,

    /// <summary>32-bit or 64-bit interrupt gate.</summary>
    InterruptGate = 14,

    /// <summary>32-bit or 64-bit trap gate.</summary>
    TrapGate = 15,
}
