using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// Liveness analysis of the arithmetic flags. All flags are live where an instruction may fault, because the exception handler sees EFLAGS from
/// before the instruction (SDM 3A 6.12.1), and at block boundaries, where C# may read the vCPU's state.
/// </summary>
internal static class FlagLiveness
{
    /// <summary>All arithmetic flags, as <see cref="RflagsBits"/>.</summary>
    public const int AllFlags = (int)(RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF);

    /// <summary>The flags live before an instruction, given those live after it. An instruction that may fault makes all flags live.</summary>
    public static int Before(in Instruction instruction, Treatment treatment, int after)
        => MayFault(instruction, treatment) ? AllFlags : Through(instruction, after);

    /// <summary>The flags live before an instruction that does not fault, given those live after it.</summary>
    public static int Through(in Instruction instruction, int after) => (after & ~Kills(instruction)) | ((int)instruction.RflagsRead & AllFlags);

    /// <summary>Whether a copied instruction may fault for another reason than its memory operand.</summary>
    public static bool FaultsByItself(in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv || instruction.IsInvalid || InstructionClasses.UsesSimd(instruction.Code);

    private static bool MayFault(in Instruction instruction, Treatment treatment) => treatment switch
    {
        Treatment.Nothing or Treatment.Address => false,
        Treatment.Native => InstructionUse.HasMemoryOperand(instruction) || FaultsByItself(instruction),
        _ => true,
    };

    private static int Kills(in Instruction instruction)
    {
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
        {
            return 0;
        }

        if (InstructionClasses.MayKeepFlags(instruction.Code))
        {
            OpKind count = instruction.GetOpKind(instruction.OpCount - 1);
            if (count != OpKind.Immediate8 || (instruction.GetImmediate(instruction.OpCount - 1) & 31) == 0)
            {
                return 0;
            }
        }

        // A processor may leave undefined flags unchanged (AMD's do after IMUL). After a logical instruction, all processors clear AF.
        RflagsBits left = instruction.RflagsUndefined;
        if (instruction.Mnemonic is Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test)
        {
            left &= ~RflagsBits.AF;
        }

        return (int)(instruction.RflagsModified & ~left) & AllFlags;
    }
}
