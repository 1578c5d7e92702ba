using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>Accesses and sizes of an instruction's operands. One thread at a time.</summary>
/// <param name="set">The guest's instruction set.</param>
internal sealed class InstructionUse(InstructionSet set)
{
    private readonly InstructionInfoFactory _info = new();

    /// <summary>Whether an instruction has an explicit memory operand.</summary>
    public static bool HasMemoryOperand(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Bytes of its explicit memory operand.</summary>
    public int MemoryBytes(in Instruction instruction)
    {
        if (instruction.Code == Iced.Intel.Code.Movsxd_r16_rm16 && set.Decoding == DecoderOptions.AMD)
        {
            // AMD's processors read four bytes.
            return 4;
        }

        int size = instruction.IsBroadcast ? instruction.MemorySize.GetElementSize() : instruction.MemorySize.GetSize();
        return size == 0 ? 1 : size;
    }

    /// <summary>How an instruction accesses one of its operands.</summary>
    public OpAccess AccessOf(in Instruction instruction, int operand)
        => _info.GetInfo(instruction, InstructionInfoOptions.NoMemoryUsage | InstructionInfoOptions.NoRegisterUsage).GetOpAccess(operand);

    /// <summary>Whether an instruction writes its explicit memory operand.</summary>
    public bool WritesMemory(in Instruction instruction) => MemoryAccess(instruction) is not (OpAccess.Read or OpAccess.CondRead or OpAccess.None or OpAccess.NoMemAccess);

    /// <summary>Whether an instruction reads its explicit memory operand, or writes only parts of it.</summary>
    public bool ReadsMemory(in Instruction instruction) => MemoryAccess(instruction) is not (OpAccess.Write or OpAccess.None or OpAccess.NoMemAccess);

    /// <summary>Whether an instruction changes a general register, or a part of it.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="register">0 to 15.</param>
    public bool Changes(in Instruction instruction, int register)
    {
        Register full = Register.RAX + register;
        InstructionInfo info = _info.GetInfo(instruction, InstructionInfoOptions.NoMemoryUsage);
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            if (used.Access is not (OpAccess.Read or OpAccess.CondRead) && used.Register.IsGPR() && used.Register.GetFullRegister() == full)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Whether an instruction uses neither RAX nor arithmetic flags.</summary>
    public bool IsIndifferentToFlagsAndRax(in Instruction instruction)
    {
        if (((int)(instruction.RflagsRead | instruction.RflagsModified) & FlagLiveness.AllFlags) != 0 || InstructionClasses.MayKeepFlags(instruction.Code))
        {
            return false;
        }

        InstructionInfo info = _info.GetInfo(instruction, InstructionInfoOptions.NoMemoryUsage);
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            if (used.Register.GetFullRegister() == Register.RAX)
            {
                return false;
            }
        }

        return true;
    }

    private OpAccess MemoryAccess(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                return AccessOf(instruction, i);
            }
        }

        return OpAccess.None;
    }
}
