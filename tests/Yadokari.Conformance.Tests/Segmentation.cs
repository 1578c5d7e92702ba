using Yadokari.X86.State;

namespace Yadokari.Conformance.Tests;

/// <summary>A descriptor of the local descriptor table that programs run with, natively and in guests: at the same index, so that selectors agree.</summary>
/// <param name="Base">Linear base address.</param>
/// <param name="Limit">In bytes, inclusive.</param>
/// <param name="Type">Bits 0 to 3 of the type (Intel SDM volume 3, table 3-1).</param>
/// <param name="Big">The D/B bit.</param>
/// <param name="Present">The P bit.</param>
public sealed record LocalSegment(uint Base, uint Limit, int Type, bool Big, bool Present = true)
{
    // DPL 3, S.
    private const ushort OfPrograms = 0x70;

    /// <summary>The table.</summary>
    public static IReadOnlyList<LocalSegment> Table { get; } =
    [
        new((uint)Arena.Code, 0xFFFF, 0xB, false),
        new((uint)Arena.Data, 0xFFFF, 0x3, false),
        new((uint)Arena.Code, 0x2FFF, 0xB, true),
        new((uint)Arena.Data, 0x1FFF, 0x3, true),
        new((uint)Arena.Data, 0x3FFF, 0x3, false),

        // Expands down: the offsets above the limit are those that count.
        new((uint)Arena.Data, 0x17FF, 0x7, true),
        new((uint)Arena.Data, 0x17FF, 0x7, false),
        new((uint)Arena.Data, 0xFFFF, 0x1, true),

        // Not present, and code that can't be read. Linux lets programs have no conforming code.
        new((uint)Arena.Data, 0xFFFF, 0x3, true, Present: false),
        new((uint)Arena.Code, 0xFFFF, 0xB, true, Present: false),
        new((uint)Arena.Code, 0xFFFF, 0x9, true),
    ];

    /// <summary>The segment register that holds the table's descriptor of an index, at privilege level 3.</summary>
    public static SegmentState Loaded(int index)
    {
        LocalSegment segment = Table[index];
        return new SegmentState(Selector(index), segment.Base, segment.Limit, segment.Attributes);
    }

    /// <summary>Its selector: the local table's, RPL 3.</summary>
    public static ushort Selector(int index) => (ushort)((index << 3) | 7);

    /// <summary>The eight bytes of the descriptor.</summary>
    public ulong Descriptor =>
        (Limit & 0xFFFF) | (ulong)(Base & 0xFF_FFFF) << 16 | (ulong)(uint)Attributes << 40 | (ulong)(Limit >> 16 & 0xF) << 48 | (ulong)(Base >> 24) << 56;

    private ushort Attributes => (ushort)(OfPrograms | Type | (Big ? 0x4000 : 0) | (Present ? 0x80 : 0));
}

/// <summary>The selectors of a program's segments, which Linux gives to flat ones: __USER32_CS, __USER_DS and __USER_CS.</summary>
public readonly record struct Selectors(ushort Cs, ushort Ss, ushort Ds, ushort Es, ushort Fs, ushort Gs)
{
    /// <summary>Those of a program's segments.</summary>
    public static Selectors Of(Segmentation segments) => segments.IsFlat
        ? new Selectors(segments.Bitness == 64 ? (ushort)0x33 : (ushort)0x23, 0x2B, 0x2B, 0x2B, 0, 0)
        : new Selectors(
            LocalSegment.Selector(segments.Code),
            LocalSegment.Selector(segments.Stack),
            LocalSegment.Selector(segments.Data),
            LocalSegment.Selector(segments.Extra),
            LocalSegment.Selector(segments.Data),
            LocalSegment.Selector(segments.Extra));
}

/// <summary>The segments that a program runs in.</summary>
/// <param name="Bitness">Of the code segment: 16, 32 or 64.</param>
/// <param name="Code">Index in <see cref="LocalSegment.Table"/>, or -1 for flat segments.</param>
/// <param name="Data">The same, for DS and FS.</param>
/// <param name="Extra">The same, for ES and GS.</param>
/// <param name="Stack">The same, for SS.</param>
public sealed record Segmentation(int Bitness, int Code = -1, int Data = -1, int Extra = -1, int Stack = -1)
{
    /// <summary>64-bit code.</summary>
    public static Segmentation Flat64 { get; } = new(64);

    /// <summary>32-bit code whose segments begin at 0 and have no limit.</summary>
    public static Segmentation Flat32 { get; } = new(32);

    /// <summary>Code of 64 or 32 bits whose segments begin at 0 and have no limit.</summary>
    public static Segmentation Flat(int bitness) => bitness == 64 ? Flat64 : Flat32;

    /// <summary>16-bit code in segments of 64 KiB, and with limits, 32-bit stacks, and segments that expand down or are read-only.</summary>
    private static IReadOnlyList<Segmentation> Of16Bits { get; } = [new(16, 0, 1, 1, 1), new(16, 0, 4, 1, 4), new(16, 0, 3, 1, 3), new(16, 0, 6, 7, 6)];

    /// <summary>32-bit code in segments with bases and limits.</summary>
    private static IReadOnlyList<Segmentation> Of32Bits { get; } = [new(32, 2, 3, 3, 3), new(32, 2, 5, 7, 5), new(32, 2, 1, 1, 1), new(32, 2, 5, 4, 4)];

    /// <summary>Those for code of 16 or 32 bits.</summary>
    public static IReadOnlyList<Segmentation> Within(int bitness) => bitness == 16 ? Of16Bits : Of32Bits;

    /// <summary>Whether segments begin at 0 and have no limit.</summary>
    public bool IsFlat => Code < 0;

    /// <summary>Linear address of the code segment.</summary>
    public ulong CodeBase => IsFlat ? 0 : LocalSegment.Table[Code].Base;

    /// <summary>Linear address of all the other segments.</summary>
    public ulong DataBase => IsFlat ? 0 : LocalSegment.Table[Data].Base;

    /// <summary>Bits of the stack pointer.</summary>
    public int StackBits => Bitness == 64 ? 64 : IsFlat || LocalSegment.Table[Stack].Big ? 32 : 16;
}
