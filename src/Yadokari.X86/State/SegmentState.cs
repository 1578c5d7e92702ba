namespace Yadokari.X86.State;

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
