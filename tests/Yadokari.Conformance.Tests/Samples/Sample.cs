using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>What a comparison must know of the program in an image.</summary>
public sealed class Sample
{
    /// <summary>The instruction, or the first of several.</summary>
    public Instruction Instruction { get; set; }

    /// <summary>Makes the same sample again.</summary>
    public ulong Seed { get; set; }

    /// <summary>Where the explicit memory operand went, or 0.</summary>
    public ulong Target { get; set; }

    /// <summary>RFLAGS bits that are undefined after the program.</summary>
    public ulong UndefinedFlags { get; set; }

    /// <summary>
    /// Whether the program may leave part of its work behind when it faults: the SDM lets gathers, scatters and state-saving instructions
    /// do so, and says nothing of how much.
    /// </summary>
    public bool PartialOnFault { get; set; }

    /// <summary>
    /// Indices of bytes of the memory image that may be left out of the comparison: x87's instruction and data pointers, which are lost where
    /// a program is stopped and goes on.
    /// </summary>
    public Range? IgnoredMemory { get; set; }

    /// <summary>No instruction has this opcode, or none with these prefixes: how many bytes make it up is the processor's business.</summary>
    public bool HasUnknownLength { get; set; }

    /// <summary>Bytes of code from the entry point that are worth showing.</summary>
    public int CodeLength { get; set; }
}
