using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>
/// Alignment checking (SDM 3A 6.15, #AC): with CR0.AM and EFLAGS.AC at level 3, in blocks of one instruction, whose accesses are looked at
/// before it runs.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    private const ulong FlagAlignment = 1ul << 18;

    // MXCSR.MM (AMD APM 1 4.2.2), and where the area of extended state has MXCSR (SDM 1 13.4.1).
    private const uint MisalignedMask = 1 << 17;
    private const int MxcsrOffset = 24;

    /// <summary>Whether accesses must be aligned now.</summary>
    internal bool ChecksAlignment => Cpl == 3 && (State->SystemFlags & FlagAlignment) != 0 && (Cr0 & X86.Cr0.AM) != 0;

    /// <summary>
    /// Whether the instruction at RIP, which was fetched already, accesses memory at an address that its alignment does not allow; raises
    /// #AC then. That comes before the page of that access is looked at, and after all that #GP and #SS are for.
    /// </summary>
    private bool IsUnaligned(CpuMode mode)
    {
        ulong cr2 = Cr2;
        FetchExtended();
        bool found = Fetch.TryDecode(out Instruction instruction) && MayCheck(instruction, mode)
            && !(X87.HasPending && InstructionClasses.WaitsForX87(instruction)) && _accesses.AreUnaligned(instruction);
        Cr2 = cr2;
        ClearRaised();
        if (found)
        {
            Raise(Vector.AlignmentCheck);
        }

        return found;
    }

    // Invalid and privileged instructions fault without an access, and so do those whose unit is switched off.
    private bool MayCheck(in Instruction instruction, CpuMode mode)
    {
        const CpuMode Traps = CpuMode.SimdTrap | CpuMode.SseTrap | CpuMode.AvxTrap | CpuMode.Avx512Trap;
        return !instruction.IsInvalid && !instruction.IsPrivileged && _vm.InstructionSet.Has(instruction)
            && ((mode & Traps) == 0 || !InstructionClasses.UsesSimd(instruction.Code))
            && InstructionClasses.TreatmentOf(instruction.Code) switch
            {
                Treatment.Nothing or Treatment.Address => false,
                Treatment.Emulate => Emulator.Handles(instruction.Code),
                _ => true,
            };
    }

    internal bool IsMisaligned(Iced.Intel.Code code, ulong linear)
        => (linear & (ulong)(InstructionClasses.AlignmentOf(code) - 1)) != 0

            // SAFETY: the window holds the area, with MXCSR in it, for as long as the vCPU lives.
            && !(InstructionClasses.MayMisalign(code) && (*(uint*)(XsaveArea + MxcsrOffset) & MisalignedMask) != 0);
}
