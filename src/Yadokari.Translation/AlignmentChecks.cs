using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using static Yadokari.Translation.Emulation.Operands;

namespace Yadokari.Translation;

/// <summary>
/// Alignment checking (SDM 3A 6.15, #AC): with CR0.AM and EFLAGS.AC at level 3, in blocks of one instruction, whose accesses are looked at
/// before it runs. Of the vCPU's thread.
/// </summary>
internal sealed unsafe class AlignmentChecks(Vcpu cpu, InstructionAccesses accesses)
{
    // MXCSR.MM (AMD APM 1 4.2.2), and where the area of extended state has MXCSR (SDM 1 13.4.1).
    private const uint MisalignedMask = 1 << 17;
    private const int MxcsrOffset = 24;

    /// <summary>Whether accesses must be aligned now.</summary>
    public bool AreOn => cpu.Cpl == 3 && (cpu.State->SystemFlags & FlagAlignment) != 0 && (cpu.Cr0 & X86.Cr0.AM) != 0;

    /// <summary>
    /// Whether the instruction at RIP, which was fetched already, accesses memory at an address that its alignment does not allow; raises
    /// #AC then. That comes before the page of that access is looked at, and after all that #GP and #SS are for.
    /// </summary>
    public bool Fail(CpuMode mode)
    {
        ulong cr2 = cpu.Cr2;
        cpu.FetchExtended();
        bool found = cpu.Fetch.TryDecode(out Instruction instruction) && MayCheck(instruction, mode)
            && !(cpu.X87.HasPending && InstructionClasses.WaitsForX87(instruction)) && accesses.AreUnaligned(instruction);
        cpu.Cr2 = cr2;
        cpu.ClearRaised();
        if (found)
        {
            cpu.Raise(Vector.AlignmentCheck);
        }

        return found;
    }

    // Invalid and privileged instructions fault without an access, and so do those whose unit is switched off.
    private bool MayCheck(in Instruction instruction, CpuMode mode)
    {
        const CpuMode Traps = CpuMode.SimdTrap | CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap;
        return !instruction.IsInvalid && !instruction.IsPrivileged && cpu.Vm.InstructionSet.Has(instruction)
            && ((mode & Traps) == 0 || !InstructionClasses.UsesSimd(instruction.Code))
            && InstructionClasses.TreatmentOf(instruction.Code) switch
            {
                Treatment.Nothing or Treatment.Address => false,
                Treatment.Emulate => Emulator.Handles(instruction.Code),
                _ => true,
            };
    }

    /// <summary>Whether a vector operand does not stand at a multiple of what its instruction asks for, whatever EFLAGS.AC says.</summary>
    public bool IsMisaligned(Iced.Intel.Code code, ulong linear)
        => (linear & (ulong)(InstructionClasses.AlignmentOf(code) - 1)) != 0

            // SAFETY: the window holds the area, with MXCSR in it, for as long as the vCPU lives.
            && !(InstructionClasses.MayMisalign(code) && (*(uint*)(cpu.XsaveArea + MxcsrOffset) & MisalignedMask) != 0);
}
