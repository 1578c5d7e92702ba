namespace Yadokari.Translation;

/// <summary>
/// The guest's x87 instruction and operand pointers and last opcode (SDM 1 8.1.8, 8.1.9), and the encoding of the last x87 instruction (the note)
/// that translated code stores in <see cref="VcpuState.X87Last"/>.
/// </summary>
internal struct X87Pointers
{
    /// <summary>The note for FNINIT.</summary>
    public const uint Initialized = 1u << 30;

    /// <summary>Value of <see cref="VcpuState.X87Segment"/> for none.</summary>
    public const int NoSegment = 6;

    /// <summary>Value of <see cref="VcpuState.X87Operand"/> for none: it is not a canonical address.</summary>
    public const ulong NoOperand = 1ul << 63;

    private const uint Noted = 1u << 31;
    private const uint User = 1u << 23;
    private const uint Memory = 1u << 24;

    /// <summary>FIP: offset in CS.</summary>
    public ulong Instruction;

    /// <summary>FDP: offset in the operand's segment.</summary>
    public ulong Operand;

    /// <summary>FOP: eleven bits.</summary>
    public ushort Opcode;

    /// <summary>FCS.</summary>
    public ushort CodeSelector;

    /// <summary>FDS.</summary>
    public ushort DataSelector;

    /// <summary>Encodes a note: the offset in the page, the eleven bits of the opcode, the privilege level, and whether it has a memory operand.</summary>
    public static uint Pack(int offset, int opcode, bool user, bool operand)
        => Noted | (user ? User : 0) | (operand ? Memory : 0) | ((uint)opcode << 12) | (uint)offset;

    /// <summary>Whether a noted instruction has a memory operand.</summary>
    public static bool HasOperand(uint note) => (note & Memory) != 0;

    /// <summary>Whether a noted instruction is FNINIT.</summary>
    public static bool IsInitialized(uint note) => (note & Initialized) != 0;

    /// <summary>The offset in its page of a noted instruction.</summary>
    public static ulong OffsetOf(uint note) => note & 0xFFF;

    /// <summary>The opcode of a noted instruction.</summary>
    public static ushort OpcodeOf(uint note) => (ushort)(note >> 12 & 0x7FF);

    /// <summary>Whether a noted instruction ran at CPL 3.</summary>
    public static bool IsUser(uint note) => (note & User) != 0;
}

/// <summary>An x87 instruction of a block.</summary>
/// <param name="Note">Encoded by <see cref="X87Pointers.Pack"/>.</param>
internal readonly record struct X87Note(uint Note)
{
    /// <summary>
    /// Translated code stores the operand's address before the instruction at this offset in the page; until there it is computed from the
    /// registers.
    /// </summary>
    public int OperandUntil { get; init; } = int.MaxValue;
}
