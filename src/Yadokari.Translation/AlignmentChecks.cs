using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;
using static Yadokari.Translation.Emulation.Operands;

namespace Yadokari.Translation;

/// <summary>
/// Alignment checking (SDM 3A 6.15, #AC), which is active with CR0.AM and EFLAGS.AC at CPL 3. Instructions run in blocks of their own then, and
/// their accesses are checked before they run. On the vCPU's thread.
/// </summary>
internal sealed unsafe class AlignmentChecks(Vcpu cpu, InstructionAccesses accesses)
{
    // MXCSR.MM (AMD APM 1 4.2.2), and the offset of MXCSR in the XSAVE area (SDM 1 13.4.1).
    private const uint MisalignedMask = 1 << 17;
    private const int MxcsrOffset = 24;

    /// <summary>Whether alignment checking is active.</summary>
    public bool AreOn => cpu.Cpl == 3 && (cpu.State->SystemFlags & FlagAlignment) != 0 && (cpu.Cr0 & X86.Cr0.AM) != 0;

    /// <summary>
    /// Raises #AC and returns true if the instruction at RIP, whose fetch succeeded, makes a misaligned access. #AC has priority over the page fault
    /// of that access, and #GP and #SS have priority over #AC.
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

    // Invalid and privileged instructions, and those of a disabled unit, fault without an access.
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

    /// <summary>Whether a vector operand is misaligned for its instruction, independent of EFLAGS.AC.</summary>
    public bool IsMisaligned(Iced.Intel.Code code, ulong linear)
        => (linear & (ulong)(InstructionClasses.AlignmentOf(code) - 1)) != 0

            // SAFETY: the window contains the area with MXCSR until the vCPU is disposed.
            && !(InstructionClasses.MayMisalign(code) && (*(uint*)(cpu.XsaveArea + MxcsrOffset) & MisalignedMask) != 0);
}
