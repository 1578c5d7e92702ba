using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// Which arithmetic flags somebody may still read. An exception's handler reads them all (SDM 3A 6.12.1: EFLAGS of before the instruction),
/// and so does whoever looks at the processor between blocks.
/// </summary>
internal static class FlagLiveness
{
    /// <summary>All arithmetic flags, as <see cref="RflagsBits"/>.</summary>
    public const int AllFlags = (int)(RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF);

    /// <summary>What must be there when an instruction runs, which may fault or not, if so much must be there after it.</summary>
    public static int Before(in Instruction instruction, Treatment treatment, int after)
        => MayFault(instruction, treatment) ? AllFlags : Through(instruction, after);

    /// <summary>What must be there when an instruction runs that does not fault.</summary>
    public static int Through(in Instruction instruction, int after) => (after & ~Kills(instruction)) | ((int)instruction.RflagsRead & AllFlags);

    /// <summary>Whether an instruction that the processor runs may fault even where its memory operand, if any, is there.</summary>
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

        // What is undefined the processor may leave as it was (AMD's do, after IMUL); all clear AF after a logical instruction.
        RflagsBits left = instruction.RflagsUndefined;
        if (instruction.Mnemonic is Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test)
        {
            left &= ~RflagsBits.AF;
        }

        return (int)(instruction.RflagsModified & ~left) & AllFlags;
    }
}
