using System.Numerics;
using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// Register allocation for copied instructions: some guest registers have another number on the host, some are loaded into scratch registers, and
/// if these do not suffice, another host register is borrowed. The translator uses it to emit code, and the vCPU to restore registers after a
/// host fault.
/// </summary>
internal static class RegisterRenaming
{
    /// <summary>The number of an operand's general register; -1 if it is none, or AH to BH.</summary>
    public static int GuestOperand(in Instruction instruction, int operand)
        => instruction.GetOpKind(operand) == OpKind.Register ? GuestRegisters.Number(instruction.GetOpRegister(operand)) : -1;

    /// <summary>Whether an instruction uses a guest register that has another number on the host, or no host register.</summary>
    public static bool IsRenamed(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = GuestOperand(instruction, i);
            if (guest >= 0 && GuestRegisters.HostOf(guest) != (Host)guest)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Whether an instruction uses one of AH to BH together with a register whose host register requires REX, which excludes AH to BH.</summary>
    /// <param name="instruction">The guest's instruction.</param>
    /// <param name="high">Whether it uses one of AH to BH.</param>
    public static bool StandsBesideHighByte(in Instruction instruction, out bool high)
    {
        high = false;
        bool extended = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            high |= instruction.GetOpKind(i) == OpKind.Register && GuestRegisters.IsHighByte(instruction.GetOpRegister(i));
            int guest = GuestOperand(instruction, i);
            extended |= guest >= 0 && GuestRegisters.HostOf(guest) >= Host.R8;
        }

        return high && extended;
    }

    /// <summary>Whether a register must be loaded into a scratch register: it is in memory, or can't be encoded together with AH to BH.</summary>
    public static bool IsPassed(Host mapped, bool besideHigh) => mapped == Host.None || (besideHigh && mapped >= Host.R8);

    /// <summary>The host register that the code of an instruction borrows, after saving its guest value in <see cref="VcpuState.SaveRcx"/>; or None.</summary>
    public static Host BorrowedBy(in Instruction guestInstruction)
    {
        bool memory = InstructionUse.HasMemoryOperand(guestInstruction);
        Instruction instruction = guestInstruction;
        int slot = memory ? -1 : MemoryForms.Choose(ref instruction);
        bool besideHigh = StandsBesideHighByte(instruction, out bool high);
        uint passed = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            int guest = i == slot ? -1 : GuestOperand(instruction, i);
            passed |= guest >= 0 && IsPassed(GuestRegisters.HostOf(guest), besideHigh) ? 1u << guest : 0;
        }

        // As the translator allocates them: one or two scratch registers are free.
        int free = (memory ? 0 : 1) + (high ? 0 : 1);
        return BitOperations.PopCount(passed) <= free ? Host.None : Lendable(instruction);
    }

    /// <summary>A register to borrow that an instruction does not use: R8 to R14 are no implicit operand of any instruction.</summary>
    public static Host Lendable(in Instruction instruction)
    {
        foreach (Host candidate in (ReadOnlySpan<Host>)[Host.R8, Host.R9, Host.R12, Host.R13, Host.R14])
        {
            bool named = false;
            for (int i = 0; i < instruction.OpCount; i++)
            {
                named |= instruction.GetOpKind(i) == OpKind.Register && GuestRegisters.Number(instruction.GetOpRegister(i)) == (int)candidate;
            }

            if (!named)
            {
                return candidate;
            }
        }

        throw new InvalidOperationException("no register left to borrow");
    }
}
