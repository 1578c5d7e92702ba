using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>Decides how each instruction is translated in a mode. Any thread.</summary>
/// <param name="set">The guest's instruction set.</param>
/// <param name="crowded">Whether there are more vCPUs than host processors: PAUSE is emulated then, so that it yields the processor.</param>
internal sealed class TreatmentRules(InstructionSet set, bool crowded)
{
    /// <summary>How an instruction is translated in a mode.</summary>
    public Treatment Of(in Instruction instruction, CpuMode mode)
    {
        Treatment treatment = InstructionClasses.TreatmentOf(instruction.Code);
        if (!set.Has(instruction) || (crowded && instruction.Mnemonic == Mnemonic.Pause))
        {
            return Treatment.Emulate;
        }

        if (treatment == Treatment.Native && InstructionClasses.UsesSimd(instruction.Code)
            && ((mode & CpuMode.SimdTrap) != 0
                || ((mode & CpuMode.EmulationTrap) != 0 && !InstructionClasses.IsAvx(instruction.Code) && !InstructionClasses.IsAvx512(instruction.Code))
                || ((mode & CpuMode.SseTrap) != 0 && InstructionClasses.IsSse(instruction.Code))
                || ((mode & CpuMode.AvxTrap) != 0 && InstructionClasses.IsAvx(instruction.Code))
                || ((mode & CpuMode.Avx512Trap) != 0 && InstructionClasses.IsAvx512(instruction.Code))))
        {
            return Treatment.Emulate;
        }

        if (Code64(mode) && treatment == Treatment.Flow && instruction.Op0Kind == OpKind.NearBranch16)
        {
            // AMD's processors truncate the target to 16 bits.
            return Treatment.Emulate;
        }

        if (!Code64(mode) && treatment is Treatment.Flow or Treatment.Stack)
        {
            bool jump = treatment == Treatment.Flow && instruction.FlowControl is FlowControl.UnconditionalBranch or FlowControl.ConditionalBranch;
            return (jump ? IsNearTarget(instruction, mode) : StateLayout.IsFlat32(mode)) ? treatment : Treatment.Emulate;
        }

        if (treatment == Treatment.Emulate)
        {
            return InlineTreatment(instruction, mode);
        }

        if (treatment == Treatment.BitString)
        {
            return instruction.Op0Kind == OpKind.Register ? Treatment.Native
                : Bmi2.X64.IsSupported && CanBitString(instruction, mode) ? Treatment.BitString : Treatment.Emulate;
        }

        return treatment;
    }

    // Whether a direct jump needs no check of the limit of CS: the target is in the same page (near the limit, instructions run one by one), or the
    // limit is 4 GiB.
    private static bool IsNearTarget(in Instruction instruction, CpuMode mode)
    {
        if ((mode & (CpuMode.Limited | CpuMode.Based)) == 0)
        {
            return true;
        }

        bool code32 = (mode & CpuMode.Code32) != 0;
        bool inPage = !Single(mode) && ((TargetOf(instruction, mode) ^ instruction.IP) & ~0xFFFul) == 0;
        return instruction.Op0Kind == (code32 ? OpKind.NearBranch32 : OpKind.NearBranch16)
            && (inPage || (code32 && (mode & CpuMode.Limited) == 0));
    }

    /// <summary>The linear address of a direct jump's target.</summary>
    public static ulong TargetOf(in Instruction instruction, CpuMode mode)
    {
        if (instruction.Op0Kind == OpKind.NearBranch16 && (mode & (CpuMode.Limited | CpuMode.Based)) != 0)
        {
            // The decoder was given linear addresses as offsets: only the distance is valid.
            return (uint)(instruction.NextIP + (ulong)(short)(instruction.NearBranch16 - instruction.NextIP));
        }

        return Code64(mode) ? instruction.NearBranchTarget : (uint)instruction.NearBranchTarget;
    }

    /// <summary>
    /// The treatment of a sensitive instruction. Inlining requires 64-bit code of a plain mode. Code at CPL 1 and 2 runs one instruction at a time,
    /// so a block that is not user code is CPL 0.
    /// </summary>
    private static Treatment InlineTreatment(in Instruction instruction, CpuMode mode)
    {
        if (!Code64(mode) || Single(mode) || !InlineInstructions.Contains(instruction.Code))
        {
            return Treatment.Emulate;
        }

        bool fits = instruction.Mnemonic switch
        {
            Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq or Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd
                or Mnemonic.Stosq => CanInlineString(instruction, mode),
            Mnemonic.Rdtsc or Mnemonic.Rdtscp => Bmi2.X64.IsSupported,
            Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase or Mnemonic.Pushfq => true,
            Mnemonic.Cld => (mode & CpuMode.Down) == 0,
            Mnemonic.Jrcxz or Mnemonic.Jecxz or Mnemonic.Loop => true,
            Mnemonic.Mov when instruction.Op1Register.IsCR() => (mode & CpuMode.User) == 0
                && instruction.Op1Register is (Register.CR0 or Register.CR2 or Register.CR3 or Register.CR4),
            Mnemonic.Mov => instruction.Op0Kind == OpKind.Register,
            Mnemonic.Syscall => (mode & (CpuMode.User | CpuMode.Down)) == CpuMode.User,
            _ => (mode & CpuMode.User) == 0,
        };
        return !fits ? Treatment.Emulate
            : instruction.Mnemonic switch
            {
                Mnemonic.Cld => Treatment.Nothing,
                Mnemonic.Jrcxz or Mnemonic.Jecxz or Mnemonic.Loop => Treatment.Flow,
                Mnemonic.Syscall or Mnemonic.Sysretq => Treatment.FastCall,
                _ => Treatment.Inline,
            };
    }

    private static bool CanInlineString(in Instruction instruction, CpuMode mode)
    {
        if ((mode & CpuMode.Down) != 0 || instruction.HasRepnePrefix)
        {
            return false;
        }

        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.MemorySegRSI when instruction.MemorySegment is not (Register.FS or Register.GS):
                case OpKind.MemoryESRDI:
                case OpKind.Register:
                    break;
                default:
                    return false;
            }
        }

        return true;
    }

    // A narrower address would have to be truncated after adding the bit's distance.
    private static bool CanBitString(in Instruction instruction, CpuMode mode)
    {
        Register address = instruction.MemoryBase == Register.None ? instruction.MemoryIndex : instruction.MemoryBase;
        return (instruction.Op1Register.IsGPR64() || instruction.Op1Register.IsGPR32())
            && (Code64(mode) ? address.IsGPR64() || address == Register.RIP : address.IsGPR32())
            && !HasLimit(instruction.MemorySegment, mode);
    }

    /// <summary>Whether accesses by a segment check its limit. FS and GS always do outside 64-bit mode, because they are rarely used; code is not writable.</summary>
    public static bool HasLimit(Register segment, CpuMode mode)
        => !Code64(mode) && ((mode & CpuMode.Limited) != 0 || segment is Register.FS or Register.GS or Register.CS);

    private static bool Code64(CpuMode mode) => (mode & CpuMode.Code64) != 0;

    private static bool Single(CpuMode mode) => (mode & CpuMode.Single) != 0;
}
