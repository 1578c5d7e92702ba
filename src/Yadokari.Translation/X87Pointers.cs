namespace Yadokari.Translation;

/// <summary>
/// The x87's instruction and operand pointers and its last opcode (SDM 1 8.1.8, 8.1.9), as the guest sees them; and the note of an
/// instruction that translated code leaves in <see cref="VcpuState.X87Last"/>.
/// </summary>
internal struct X87Pointers
{
    /// <summary>The note that FNINIT was last.</summary>
    public const uint Initialized = 1u << 30;

    /// <summary>In <see cref="VcpuState.X87Segment"/>: none.</summary>
    public const int NoSegment = 6;

    /// <summary>In <see cref="VcpuState.X87Operand"/>, no canonical address: there was no memory operand.</summary>
    public const ulong NoOperand = 1ul << 63;

    private const uint Noted = 1u << 31;
    private const uint User = 1u << 23;

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

    /// <summary>The note of an instruction: its offset in its page, its opcode's eleven bits, its level.</summary>
    public static int Pack(int offset, int opcode, bool user) => (int)(Noted | (user ? User : 0) | ((uint)opcode << 12) | (uint)offset);

    /// <summary>The offset in its page of a noted instruction.</summary>
    public static ulong OffsetOf(uint note) => note & 0xFFF;

    /// <summary>The opcode of a noted instruction.</summary>
    public static ushort OpcodeOf(uint note) => (ushort)(note >> 12 & 0x7FF);

    /// <summary>Whether a noted instruction was at level 3.</summary>
    public static bool IsUser(uint note) => (note & User) != 0;
}
