using Iced.Intel;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>LAR, LSL, VERR, VERW, ARPL: checks of descriptors and selectors that report in ZF.</summary>
internal static unsafe class SegmentQueries
{
    internal static void Add(HandlerTable table)
    {
        table.On(&Lar, Mnemonic.Lar);
        table.On(&Lsl, Mnemonic.Lsl);
        table.On(&Verr, Mnemonic.Verr);
        table.On(&Verw, Mnemonic.Verw);
        table.On(&Arpl, Mnemonic.Arpl);
    }

    // SDM 2A LAR, table 3-52.
    private static Outcome Lar(Vcpu cpu, in Instruction instruction)
    {
        switch (Query(cpu, instruction, 1, out ushort selector, out Descriptor descriptor))
        {
            case Lookup.Fault:
                return Outcome.Fault;
            case Lookup.Found when IsVisible(cpu, selector, descriptor) && (descriptor.Type >= 16 || (cpu.LongMode
                ? descriptor.Type is Descriptor.Ldt or Descriptor.TssAvailable32 or Descriptor.TssBusy32 or Descriptor.CallGate32
                : descriptor.Type is 1 or 2 or 3 or 4 or 5 or 9 or 11 or 12)):
                Set(cpu, instruction.Op0Register, descriptor.Rights);
                SetZeroFlag(cpu, true);
                break;
            default:
                SetZeroFlag(cpu, false);
                break;
        }

        return Outcome.Next;
    }

    // SDM 2A LSL, table 3-56.
    private static Outcome Lsl(Vcpu cpu, in Instruction instruction)
    {
        switch (Query(cpu, instruction, 1, out ushort selector, out Descriptor descriptor))
        {
            case Lookup.Fault:
                return Outcome.Fault;
            case Lookup.Found when IsVisible(cpu, selector, descriptor) && (descriptor.Type >= 16 || (cpu.LongMode
                ? descriptor.Type is Descriptor.Ldt or Descriptor.TssAvailable32 or Descriptor.TssBusy32
                : descriptor.Type is 1 or 2 or 3 or 9 or 11)):
                Set(cpu, instruction.Op0Register, descriptor.Limit);
                SetZeroFlag(cpu, true);
                break;
            default:
                SetZeroFlag(cpu, false);
                break;
        }

        return Outcome.Next;
    }

    // SDM 2B VERR/VERW.
    private static Outcome Verr(Vcpu cpu, in Instruction instruction)
    {
        Lookup found = Query(cpu, instruction, 0, out ushort selector, out Descriptor descriptor);
        if (found == Lookup.Fault)
        {
            return Outcome.Fault;
        }

        SetZeroFlag(cpu, found == Lookup.Found && descriptor.IsReadable && IsVisible(cpu, selector, descriptor));
        return Outcome.Next;
    }

    private static Outcome Verw(Vcpu cpu, in Instruction instruction)
    {
        Lookup found = Query(cpu, instruction, 0, out ushort selector, out Descriptor descriptor);
        if (found == Lookup.Fault)
        {
            return Outcome.Fault;
        }

        SetZeroFlag(cpu, found == Lookup.Found && descriptor.IsWritable && IsVisible(cpu, selector, descriptor));
        return Outcome.Next;
    }

    // SDM 2A ARPL: raises the RPL of a selector to that of another.
    private static Outcome Arpl(Vcpu cpu, in Instruction instruction)
    {
        if (!cpu.ProtectedMode)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if (!Load(cpu, instruction, 0, 2, out ulong selector))
        {
            return Outcome.Fault;
        }

        ulong rpl = Get(cpu, instruction.Op1Register) & 3;
        bool raise = (selector & 3) < rpl;
        ulong result = (selector & 0xFFFC) | rpl;
        if (raise && instruction.Op0Kind == OpKind.Register)
        {
            SetPart(ref cpu.Gpr(instruction.Op0Register.GetNumber()), result, 0xFFFF);
        }
        else if (raise && !Store(cpu, instruction, 0, 2, result))
        {
            return Outcome.Fault;
        }

        SetZeroFlag(cpu, raise);
        return Outcome.Next;
    }

    /// <summary>Reads the selector operand and its descriptor. Real and virtual-8086 mode have no such instructions: #UD.</summary>
    private static Lookup Query(Vcpu cpu, in Instruction instruction, int operand, out ushort selector, out Descriptor descriptor)
    {
        selector = 0;
        descriptor = default;
        if (!cpu.ProtectedMode)
        {
            cpu.Raise(Vector.InvalidOpcode);
            return Lookup.Fault;
        }

        if (!Load(cpu, instruction, operand, 2, out ulong value))
        {
            return Lookup.Fault;
        }

        selector = (ushort)value;
        return Find(cpu, selector, wide: false, out descriptor, out _);
    }

    private static bool IsVisible(Vcpu cpu, ushort selector, in Descriptor descriptor)
        => descriptor.IsConforming || (cpu.Cpl <= descriptor.Dpl && (selector & 3) <= descriptor.Dpl);
}
