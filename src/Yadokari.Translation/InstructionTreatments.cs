using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>How the translation engine carries an instruction out.</summary>
public enum InstructionTreatment
{
    /// <summary>Copied to the host code, with registers renamed and the memory operand redirected.</summary>
    Copied,

    /// <summary>Replaced by a short sequence of host instructions: near jumps, calls and returns, pushes and pops, LEA.</summary>
    Expanded,

    /// <summary><see cref="Expanded"/> for its common case, else <see cref="Emulated"/>.</summary>
    Inline,

    /// <summary>A handler in C# emulates it.</summary>
    Emulated,

    /// <summary>Raises #UD: it is invalid, or belongs to a feature that the guest does not have.</summary>
    Refused,
}

/// <summary>Reports how the translator treats each instruction, for tests and documentation. Any thread.</summary>
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
