using System.Numerics;
using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>
/// What becomes of the registers that a guest's instruction names: some have other numbers on the host, some pass through scratch registers,
/// and where those don't suffice one is borrowed. The translator emits by it, and after a host's fault it tells what the registers held.
/// </summary>
internal static class RegisterRenaming
{
    /// <summary>The number of an operand's general register, or -1 where it is none or the high byte of one.</summary>
    public static int GuestOperand(in Instruction instruction, int operand)
        => instruction.GetOpKind(operand) == OpKind.Register ? GuestRegisters.Number(instruction.GetOpRegister(operand)) : -1;

    /// <summary>Whether an instruction names a guest register that has another number on the host, or none.</summary>
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

    /// <summary>Whether an instruction names one of AH..BH, and beside it a register whose host register takes a REX prefix, with which there are none.</summary>
    /// <param name="instruction">The guest's.</param>
    /// <param name="high">Whether it names one of AH..BH at all.</param>
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

    /// <summary>Whether a register passes through a scratch register: it lives in memory, or can't stand beside AH..BH.</summary>
    public static bool IsPassed(Host mapped, bool besideHigh) => mapped == Host.None || (besideHigh && mapped >= Host.R8);

    /// <summary>The register that the host code of an instruction borrows, whose guest value is in the spare slot meanwhile; or None.</summary>
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

        // As the translator hands them out: one or two registers are free.
        int free = (memory ? 0 : 1) + (high ? 0 : 1);
        return BitOperations.PopCount(passed) <= free ? Host.None : Lendable(instruction);
    }

    /// <summary>A register to borrow for an instruction that does not name it: R8 to R14 are nobody's implicit operand.</summary>
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
