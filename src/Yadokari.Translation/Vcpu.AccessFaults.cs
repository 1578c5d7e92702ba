using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.Translation.Emulation;

namespace Yadokari.Translation;

/// <summary>Accesses and branches of translated code that turn out to fault.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>An access that may not be: an instruction with a mask may still be lucky, and what concerns the stack is #SS.</summary>
    private Outcome MissFault(ulong linear, int size, bool store, ulong cr2)
    {
        int vector = RaisedVector;
        uint errorCode = RaisedErrorCode;
        ulong address = Cr2;
        if (!Fetch.TryDecode(out Instruction instruction))
        {
            return DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) == Treatment.Native && MaskedMoves.TryMask(this, instruction, out MaskedOperand _))
        {
            ClearRaised();
            Cr2 = cr2;
            return Bounce(linear, size, store);
        }

        const int Part = 8;
        bool parted = size == Part + 2 && IsWithinCanonical(linear, Part);
        if (parted && !Memory.ProbeLinear(linear, Part, store))
        {
            // Of the x87's ten bytes the first eight are looked at before the rest.
            return DeliverAccessFault(instruction, store);
        }

        if (IsRefused(instruction, linear, size, store))
        {
            Cr2 = cr2;
            return DeliverRaised();
        }

        Cr2 = address;
        Raise((Vector)vector, errorCode);
        return DeliverAccessFault(instruction, store);
    }

    /// <summary>
    /// Whether an operand is #GP or #SS for its address alone, whatever its page is like: it does not stand as the instruction asks for, or
    /// does not end where the canonical addresses do. Raises that.
    /// </summary>
    private bool IsRefused(in Instruction instruction, ulong linear, int size, bool store)
    {
        if (IsMisaligned(instruction.Code, linear))
        {
            Raise(Vector.GeneralProtection);
            return true;
        }

        if (IsWithinCanonical(linear, size))
        {
            return false;
        }

        Raise(ConcernsStack(instruction, store) ? Vector.StackFault : Vector.GeneralProtection);
        return true;
    }

    /// <summary>Whether all bytes of an access have addresses that are canonical, where there are others.</summary>
    internal bool IsWithinCanonical(ulong linear, int size) => !LongMode || (IsCanonical(linear) && IsCanonical(linear + (ulong)size - 1));

    /// <summary>
    /// An access that the inline comparison with its segment's limit did not let pass: all checks, and if they hold the access. Alignment that
    /// the instruction asks for comes before the limit, and under a mask each element's page before the next one's limit.
    /// </summary>
    private Outcome LimitedAccess(int size, bool store)
    {
        if (!Fetch.TryDecode(out Instruction instruction))
        {
            return DeliverRaised();
        }

        if (InstructionClasses.TreatmentOf(instruction.Code) != Treatment.Native)
        {
            return Emulate(instruction);
        }

        ulong offset = Memory.EffectiveAddress(instruction, out int segment);
        ulong first = (uint)(Segments[segment].Base + offset);
        bool masked = MaskedMoves.TryMask(this, instruction, out MaskedOperand mask);
        if ((!masked || mask.Mask != 0) && IsMisaligned(instruction.Code, first))
        {
            Raise(Vector.GeneralProtection);
            return DeliverRaised();
        }

        if (!masked)
        {
            return Memory.Linear(segment, offset, size, store, out ulong linear) ? Bounce(linear, size, store) : DeliverRaised();
        }

        for (int i = 0; i < 64; i++)
        {
            if ((mask.Mask >> i & 1) != 0
                && !(Memory.LinearOfElement(segment, offset, i, mask.Bytes, store, out ulong element) && Memory.ProbeLinear(element, mask.Bytes, store)))
            {
                return DeliverRaised();
            }
        }

        return Bounce(first, size, store);
    }

    /// <summary>Delivers what an access raised: an address that is not canonical is #SS for the stack segment, #GP for others.</summary>
    private Outcome DeliverAccessFault(in Instruction instruction, bool store)
    {
        if (RaisedVector == (int)Vector.GeneralProtection)
        {
            if (ConcernsStack(instruction, store))
            {
                Raise(Vector.StackFault);
            }
        }

        return DeliverRaised();
    }

    private bool ConcernsStack(in Instruction instruction, bool store)
        => (instruction.IsStackInstruction && (store || instruction.Op0Kind != OpKind.Memory)) || Memory.SegmentOf(instruction) == 2;

    /// <summary>A near branch to an address that is not canonical faults itself (SDM 2A JMP, CALL, RET): what it did is undone.</summary>
    private Outcome RefuseBranch(Block from, ulong page)
    {
        SetLinearRip(page + from.Table[2 * (from.Instructions - 1)]);
        if (!Fetch.TryDecode(out Instruction instruction))
        {
            return DeliverRaised();
        }

        switch (instruction.FlowControl)
        {
            case FlowControl.Return:
                Rsp -= 8 + (instruction.OpCount == 0 ? 0u : instruction.Immediate16);
                break;
            case FlowControl.IndirectCall:
                // The quadword that the return address replaced.
                Memory.Write(Rsp, State->ReplacedTop);
                Rsp += 8;
                break;
            case FlowControl.Next:
                State->Rip += (ulong)instruction.Length;
                break;
        }

        Raise(Vector.GeneralProtection);
        return DeliverRaised();
    }

    private static bool IsCanonical(ulong address) => (long)(address << 16) >> 16 == (long)address;
}
