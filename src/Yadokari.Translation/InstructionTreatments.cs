using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>How the translation engine carries an instruction out.</summary>
public enum InstructionTreatment
{
    /// <summary>The processor runs it: copied, its registers renamed and its memory operand redirected.</summary>
    Copied,

    /// <summary>The translator writes a few instructions of its own for it: near jumps, calls and returns, pushes and pops, LEA.</summary>
    Expanded,

    /// <summary>As <see cref="Expanded"/> in its common case, else as <see cref="Emulated"/>.</summary>
    Inline,

    /// <summary>A handler in C# does what it says.</summary>
    Emulated,

    /// <summary>It belongs to a feature that guests are not offered, or to none: the guest takes #UD.</summary>
    Refused,
}

/// <summary>The translator's own decisions, for those who only want to know of them. Any thread.</summary>
public static class InstructionTreatments
{
    /// <summary>The treatment of an instruction in 64-bit code with its vector units switched on.</summary>
    public static InstructionTreatment Of(Iced.Intel.Code code) => InstructionClasses.TreatmentOf(code) switch
    {
        Treatment.Native => InstructionTreatment.Copied,
        Treatment.Emulate when InlineInstructions.Contains(code) => InstructionTreatment.Inline,
        Treatment.Emulate => Emulator.Handles(code) ? InstructionTreatment.Emulated : InstructionTreatment.Refused,
        _ => InstructionTreatment.Expanded,
    };
}
