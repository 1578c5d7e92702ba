using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Instructions that 64-bit mode no longer has, and XLAT.</summary>
internal static unsafe class LegacyInstructions
{
    internal static void Add(HandlerTable table)
    {
        table.On(&Xlat, Mnemonic.Xlatb);
        table.On(&Bound<short>, Op.Bound_r16_m1616);
        table.On(&Bound<int>, Op.Bound_r32_m3232);
        table.On(&Daa, Mnemonic.Daa);
        table.On(&Das, Mnemonic.Das);
        table.On(&Aaa, Mnemonic.Aaa);
        table.On(&Aas, Mnemonic.Aas);
        table.On(&Aam, Mnemonic.Aam);
        table.On(&Aad, Mnemonic.Aad);
        table.On(&Salc, Mnemonic.Salc);
    }

    // SDM 2C XLAT.
    private static Outcome Xlat(Vcpu cpu, in Instruction instruction)
    {
        ulong mask = instruction.MemoryBase switch { Register.BX => 0xFFFF, Register.EBX => 0xFFFFFFFF, _ => ulong.MaxValue };
        ulong offset = (cpu.Rbx + (byte)cpu.Rax) & mask;
        if (!cpu.Memory.Linear(cpu.Memory.SegmentOf(instruction), offset, 1, write: false, out ulong linear)
            || !cpu.Memory.Read(linear, out byte value))
        {
            return Outcome.Fault;
        }

        SetPart(ref cpu.Rax, value, 0xFF);
        return Outcome.Next;
    }

    // SDM 2A BOUND: both bounds are signed and inclusive. The first is read before the second's address is checked.
    private static Outcome Bound<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong offset = cpu.Memory.EffectiveAddress(instruction, out int segment);
        if (!cpu.Memory.Linear(segment, offset, sizeof(T), write: false, out ulong linear)
            || !ReadSized(cpu, linear, sizeof(T), out ulong low)
            || !cpu.Memory.Linear(segment, offset + (ulong)sizeof(T), sizeof(T), write: false, out linear)
            || !ReadSized(cpu, linear, sizeof(T), out ulong high))
        {
            return Outcome.Fault;
        }

        int shift = 64 - (sizeof(T) * 8);
        long index = (long)(Get(cpu, instruction.Op0Register) << shift);
        return index < (long)(low << shift) || index > (long)(high << shift) ? cpu.Raise(Vector.BoundRange) : Outcome.Next;
    }

    // SDM 2A DAA.
    private static Outcome Daa(Vcpu cpu, in Instruction instruction) => AdjustDecimal(cpu, 1);

    // SDM 2A DAS.
    private static Outcome Das(Vcpu cpu, in Instruction instruction) => AdjustDecimal(cpu, -1);

    private static Outcome AdjustDecimal(Vcpu cpu, int sign)
    {
        int al = (byte)cpu.Rax;
        ulong flags = cpu.Rflags;
        bool carry = (flags & 1) != 0;
        bool adjust = (al & 0xF) > 9 || (flags & 0x10) != 0;
        bool high = al > 0x99 || carry;
        int result = al;
        bool carryOut = high;
        if (adjust)
        {
            result += 6 * sign;
            carryOut |= sign < 0 && al < 6;
        }

        if (high)
        {
            result += 0x60 * sign;
        }

        SetPart(ref cpu.Rax, (ulong)result, 0xFF);
        SetArithmeticFlags(cpu, ResultFlags((byte)result) | (carryOut ? 1u : 0) | (adjust ? 0x10u : 0));
        return Outcome.Next;
    }

    // SDM 2A AAA.
    private static Outcome Aaa(Vcpu cpu, in Instruction instruction) => AdjustAscii(cpu, 0x106);

    // SDM 2A AAS.
    private static Outcome Aas(Vcpu cpu, in Instruction instruction) => AdjustAscii(cpu, -0x106);

    private static Outcome AdjustAscii(Vcpu cpu, int correction)
    {
        bool adjust = (cpu.Rax & 0xF) > 9 || (cpu.Rflags & 0x10) != 0;
        ulong ax = adjust ? cpu.Rax + (ulong)(long)correction : cpu.Rax;
        SetPart(ref cpu.Rax, ax & 0xFF0F, 0xFFFF);
        SetArithmeticFlags(cpu, ResultFlags((byte)cpu.Rax) | (adjust ? 0x11u : 0));
        return Outcome.Next;
    }

    // SDM 2A AAM.
    private static Outcome Aam(Vcpu cpu, in Instruction instruction)
    {
        uint divisor = instruction.Immediate8;
        if (divisor == 0)
        {
            return cpu.Raise(Vector.DivideError);
        }

        uint al = (byte)cpu.Rax;
        SetPart(ref cpu.Rax, (al / divisor << 8) | (al % divisor), 0xFFFF);
        SetArithmeticFlags(cpu, ResultFlags((byte)cpu.Rax));
        return Outcome.Next;
    }

    // SDM 2A AAD.
    private static Outcome Aad(Vcpu cpu, in Instruction instruction)
    {
        ulong al = (byte)(cpu.Rax + ((cpu.Rax >> 8 & 0xFF) * instruction.Immediate8));
        SetPart(ref cpu.Rax, al, 0xFFFF);
        SetArithmeticFlags(cpu, ResultFlags((byte)al));
        return Outcome.Next;
    }

    // SALC: not in the SDM, but in processors of Intel and AMD since the 8086. Fills AL with copies of CF.
    private static Outcome Salc(Vcpu cpu, in Instruction instruction)
    {
        SetPart(ref cpu.Rax, (cpu.Rflags & 1) != 0 ? 0xFFul : 0, 0xFF);
        return Outcome.Next;
    }

    /// <summary>SF, ZF and PF of a byte.</summary>
    private static ulong ResultFlags(byte result)
        => (result & 0x80u)
            | (result == 0 ? FlagZero : 0)
            | ((System.Numerics.BitOperations.PopCount(result) & 1) == 0 ? 4u : 0);
}
