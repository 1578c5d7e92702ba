using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// What the x87 knows of its last instruction: its address, its opcode, and the address of its memory operand (SDM 1 8.1.8). The processor's
/// own would be those of the host code, and are lost whenever its kernel changes threads (AMD's processors save them with pending
/// exceptions only). Translated code keeps the guest's instead: a store for each instruction, two more instructions for a memory operand.
/// </summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_x87Last = StateLayout.Of(nameof(VcpuState.X87Last));
    private static readonly int s_x87Page = StateLayout.Of(nameof(VcpuState.X87Page));
    private static readonly int s_x87Operand = StateLayout.Of(nameof(VcpuState.X87Operand));
    private static readonly int s_x87Segment = StateLayout.Of(nameof(VcpuState.X87Segment));

    // The bytes that are translated, as if they began at linear address 0.
    private byte* _source;

    // Of the block so far: its page is noted, and the segment of its last memory operand, or -1.
    private bool _x87PageNoted;
    private int _x87NotedSegment;

    private void ForgetX87()
    {
        _x87PageNoted = false;
        _x87NotedSegment = -1;
    }

    /// <summary>After an instruction of the x87 that ran to its end. Flags stay; r15 is lost, and rbp where that is a scratch register now.</summary>
    private void EmitX87Pointers(in Instruction instruction)
    {
        if (instruction.Mnemonic == Mnemonic.Fninit)
        {
            _a.StoreImmediate32(Mem.State(s_x87Last), unchecked((int)X87Pointers.Initialized));
            _a.StoreImmediate(Mem.State(s_x87Operand), 0);
            _a.StoreImmediate32(Mem.State(s_x87Segment), X87Pointers.NoSegment);
            _x87NotedSegment = -1;
            return;
        }

        if (!InstructionClasses.SetsX87Pointers(instruction.Code))
        {
            return;
        }

        if (!_x87PageNoted)
        {
            if (PositionIndependent)
            {
                _a.Load(Host.R15, Mem.State(s_codePage));
            }
            else
            {
                _a.MoveImmediate(Host.R15, _page);
            }

            _a.Store(Mem.State(s_x87Page), Host.R15);
            _x87PageNoted = true;
        }

        int marker = X87Pointers.Pack((int)(instruction.IP & 4095), OpcodeOf(instruction), (_mode & CpuMode.User) != 0);
        _a.StoreImmediate32(Mem.State(s_x87Last), marker);
        if (!HasMemoryOperand(instruction))
        {
            return;
        }

        // Its own address registers are as before.
        int segment = instruction.MemorySegment - Register.ES;
        if (segment != _x87NotedSegment)
        {
            _a.StoreImmediate32(Mem.State(s_x87Segment), segment);
            _x87NotedSegment = segment;
        }

        EmitAddress(instruction, GuestRegisters.Scratch, withSegment: false);
        _a.Store(Mem.State(s_x87Operand), GuestRegisters.Scratch);
    }

    // FOP: the low three bits of the first opcode byte and the ModRM byte. No prefix looks like an opcode of the x87.
    private int OpcodeOf(in Instruction instruction)
    {
        // SAFETY: the instruction was decoded from these bytes, of which one of the first is D8 to DF.
        byte* at = _source + (nint)instruction.IP;
        while (*at is < 0xD8 or > 0xDF)
        {
            at++;
        }

        return ((at[0] & 7) << 8) | at[1];
    }
}
