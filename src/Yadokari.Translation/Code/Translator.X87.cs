using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// The pointers and the opcode of the last x87 instruction (SDM 1 8.1.8). The host's registers hold those of the host code, and lose them at a
/// context switch (AMD's processors save them only with a pending exception). Translated code stores the guest's instead, as late as possible: the
/// last instruction at the end of a block, the last memory operand also before one of its address registers changes. After an exit in the middle of a
/// block, the vCPU derives them from <see cref="Block.X87Notes"/>.
/// </summary>
internal sealed unsafe partial class Translator
{
    private static readonly int s_x87Last = StateLayout.Of(nameof(VcpuState.X87Last));
    private static readonly int s_x87Page = StateLayout.Of(nameof(VcpuState.X87Page));
    private static readonly int s_x87Operand = StateLayout.Of(nameof(VcpuState.X87Operand));
    private static readonly int s_x87Segment = StateLayout.Of(nameof(VcpuState.X87Segment));

    // The guest bytes, biased so that a linear address is the index.
    private byte* _source;

    private readonly List<X87Note> _x87Notes = [];

    // Whether the note of the last x87 instruction must still be stored, and the index of the instruction whose operand must be, or -1.
    private bool _x87Due;
    private int _x87OperandDue;

    private void ForgetX87()
    {
        _x87Notes.Clear();
        _x87Due = false;
        _x87OperandDue = -1;
    }

    /// <summary>Before an instruction: stores due notes that could not be stored after it. Preserves flags; r15 is lost.</summary>
    private void EmitX87Due(in Instruction next, Treatment treatment)
    {
        if (treatment is not (Treatment.Native or Treatment.Stack or Treatment.Address or Treatment.Nothing or Treatment.BitString))
        {
            EmitX87Notes((int)(next.IP & 4095));
        }
        else if (_x87OperandDue >= 0)
        {
            ref readonly Instruction due = ref _builder[_x87OperandDue];
            if (Changes(next, due.MemoryBase) || Changes(next, due.MemoryIndex))
            {
                EmitX87Operand((int)(next.IP & 4095));
            }
        }
    }

    private bool Changes(in Instruction instruction, Register address)
        => GuestRegisters.Number(address) is >= 0 and int number && _use.Changes(instruction, number);

    /// <summary>After an instruction has completed. Preserves flags; r15 is lost, and rbp if the instruction used it for its address.</summary>
    private void AfterX87(in Instruction instruction)
    {
        if (instruction.Mnemonic == Mnemonic.Fninit)
        {
            _a.StoreImmediate32(Mem.State(s_x87Last), (int)X87Pointers.Initialized);
            _a.StoreImmediate(Mem.State(s_x87Operand), 0);
            _a.StoreImmediate32(Mem.State(s_x87Segment), X87Pointers.NoSegment);
            _x87Notes.Add(new X87Note(X87Pointers.Initialized | (uint)(instruction.IP & 4095)));
            _x87Due = false;
            _x87OperandDue = -1;
            return;
        }

        if (!InstructionClasses.SetsX87Pointers(instruction.Code))
        {
            return;
        }

        bool operand = InstructionUse.HasMemoryOperand(instruction);
        _x87Notes.Add(new X87Note(X87Pointers.Pack((int)(instruction.IP & 4095), OpcodeOf(instruction), (_mode & CpuMode.User) != 0, operand)));
        _x87Due = true;
        if (operand)
        {
            _x87OperandDue = _current;
            if (MayNeedLoad(instruction.MemoryBase) && MayNeedLoad(instruction.MemoryIndex))
            {
                // Both scratch registers are available only here.
                EmitX87Operand((int)(instruction.IP & 4095));
            }
        }
    }

    /// <summary>Stores the due notes, before the instruction at an offset in the page.</summary>
    private void EmitX87Notes(int before)
    {
        if (_x87OperandDue >= 0)
        {
            EmitX87Operand(before);
        }

        if (!_x87Due)
        {
            return;
        }

        if (PositionIndependent)
        {
            _a.Load(Host.R15, Mem.State(s_codePage));
        }
        else
        {
            _a.MoveImmediate(Host.R15, _page);
        }

        _a.Store(Mem.State(s_x87Page), Host.R15);
        _a.StoreImmediate32(Mem.State(s_x87Last), (int)_x87Notes[^1].Note);
        _x87Due = false;
    }

    private void EmitX87Operand(int before)
    {
        ref readonly Instruction instruction = ref _builder[_x87OperandDue];
        int last = _x87Notes.FindLastIndex(note => X87Pointers.HasOperand(note.Note));
        _x87Notes[last] = _x87Notes[last] with { OperandUntil = before };
        _a.StoreImmediate32(Mem.State(s_x87Segment), instruction.MemorySegment - Register.ES);
        if (_axSaved && (GuestRegisters.Number(instruction.MemoryBase) == 0 || GuestRegisters.Number(instruction.MemoryIndex) == 0))
        {
            EmitAddressWithSavedRax(instruction);
        }
        else
        {
            EmitAddress(instruction, GuestRegisters.Scratch, withSegment: false);
        }

        _a.Store(Mem.State(s_x87Operand), GuestRegisters.Scratch);
        _x87OperandDue = -1;
    }

    // Computes the effective address in r15 while RAX is saved in memory. The other register of the address, if any, is in a host register.
    private void EmitAddressWithSavedRax(in Instruction instruction)
    {
        _a.Load(Host.R15, Mem.State(s_saveRax));
        Host Of(Register register) => register == Register.None ? Host.None
            : GuestRegisters.Number(register) == 0 ? Host.R15 : GuestRegisters.HostOf(GuestRegisters.Number(register));
        int scale = instruction.MemoryIndex == Register.None ? 1 : instruction.MemoryIndexScale;
        var mem = new Mem(Of(instruction.MemoryBase), Of(instruction.MemoryIndex), (byte)scale, (int)instruction.MemoryDisplacement64, false);
        if (instruction.MemoryBase.IsGPR64() || instruction.MemoryIndex.IsGPR64())
        {
            _a.Lea(Host.R15, mem);
        }
        else
        {
            _a.Lea32(Host.R15, mem);
        }
    }

    private static bool MayNeedLoad(Register register) => GuestRegisters.LivesInMemory(register) || GuestRegisters.Number(register) == 0;

    // FOP: the low three bits of the first opcode byte, and the ModRM byte. No prefix byte is in the range of x87 opcodes.
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
