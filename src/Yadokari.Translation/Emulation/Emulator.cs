using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.X86;
using static Yadokari.Translation.Emulation.X87State;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// Emulates sensitive instructions in C#. <see cref="Execute"/> is called on the vCPU's thread with the guest's registers in
/// <see cref="VcpuState"/> and RIP at the instruction. A handler that returns <see cref="Outcome.Fault"/> has changed nothing, except the elements
/// that a repeated instruction completed before.
/// </summary>
/// <remarks>
/// Each instruction has a handler in the class of its group; <c>On</c> registers it for its codes. "SDM 2A CLI" in a comment is the page of that
/// instruction in the Intel Software Developer's Manual, volume 2A; "SDM 3A 6.12" is a section of volume 3A.
/// </remarks>
internal static unsafe class Emulator
{
    private static readonly delegate*<Vcpu, in Instruction, Outcome>[] s_handlers = Build();

    /// <summary>Emulates one instruction. An instruction without a handler raises #UD.</summary>
    internal static Outcome Execute(Vcpu cpu, in Instruction instruction)
    {
        delegate*<Vcpu, in Instruction, Outcome> handler = s_handlers[(int)instruction.Code];
        return handler == null ? RefuseSimd(cpu, in instruction) : handler(cpu, in instruction);
    }

    /// <summary>Whether an instruction has a handler.</summary>
    internal static bool Handles(Op code) => s_handlers[(int)code] != null;

    /// <summary>Whether a valid instruction is neither emulated nor copied. Instructions defined as invalid (UD0, UD1, UD2) are excluded.</summary>
    internal static bool IsUnknown(in Instruction instruction)
        => !Handles(instruction.Code) && !InstructionClasses.UsesSimd(instruction.Code)
            && instruction.Mnemonic is not (Mnemonic.INVALID or Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2);

    // Innocuous instructions are emulated while x87 or SIMD is disabled, to raise their exception: SDM 3A 2.5 and 14.1, SDM 2A 2.4 to 2.7.
    private static Outcome RefuseSimd(Vcpu cpu, in Instruction instruction)
    {
        if (!InstructionClasses.UsesSimd(instruction.Code))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if (instruction.Mnemonic == Mnemonic.Wait)
        {
            return Wait(cpu);
        }

        if (InstructionClasses.IsX87(instruction.Code))
        {
            return cpu.Raise(Vector.DeviceNotAvailable);
        }

        bool avx512 = InstructionClasses.IsAvx512(instruction.Code);
        bool off = avx512 || InstructionClasses.IsAvx(instruction.Code)
            ? (cpu.Cr4 & Cr4.OSXSAVE) == 0 || (cpu.Xcr0 & 6) != 6 || (avx512 && (cpu.Xcr0 & 0xE0) != 0xE0)
            : (cpu.Cr0 & Cr0.EM) != 0 || ((cpu.Cr4 & Cr4.OSFXSR) == 0 && InstructionClasses.IsSse(instruction.Code));
        return cpu.Raise(off || (cpu.Cr0 & Cr0.TS) == 0 ? Vector.InvalidOpcode : Vector.DeviceNotAvailable);
    }

    // SDM 2C WAIT/FWAIT: #NM only if both TS and MP are set, independent of EM.
    private static Outcome Wait(Vcpu cpu)
    {
        const ulong Both = Cr0.MP | Cr0.TS;
        if ((cpu.Cr0 & Both) == Both)
        {
            return cpu.Raise(Vector.DeviceNotAvailable);
        }

        return CheckPendingX87(cpu) ? Outcome.Next : Outcome.Fault;
    }

    // SDM 3A 6.15, #GP: more bytes than an instruction may have.
    private static Outcome RefuseLength(Vcpu cpu, in Instruction instruction) => cpu.Raise(Vector.GeneralProtection);

    private static delegate*<Vcpu, in Instruction, Outcome>[] Build()
    {
        var table = new HandlerTable();
        FlagInstructions.Add(table);
        SystemRegisters.Add(table);
        TableRegisters.Add(table);
        SegmentInstructions.Add(table);
        SegmentQueries.Add(table);
        FarTransfers.Add(table);
        InterruptDelivery.Add(table);
        InterruptReturns.Add(table);
        FastCalls.Add(table);
        PortIo.Add(table);
        StringInstructions.Add(table);
        MsrInstructions.Add(table);
        Identification.Add(table);
        Invalidation.Add(table);
        XsaveInstructions.Add(table);
        X87State.Add(table);
        StackInstructions.Add(table);
        Branches.Add(table);
        LegacyInstructions.Add(table);
        GatherScatterInstructions.Add(table);
        MaskedMoves.Add(table);
        BitStrings.Add(table);
        table.On(&RefuseLength, InstructionForms.TooLong);
        return table.Finish();
    }
}
