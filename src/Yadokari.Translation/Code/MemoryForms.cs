using Iced.Intel;
using Op = Iced.Intel.Code;

namespace Yadokari.Translation.Code;

/// <summary>
/// Forms of instructions that access a guest register in its slot of <see cref="VcpuState"/> by a memory operand, instead of loading it into a
/// scratch register.
/// </summary>
internal static class MemoryForms
{
    private static readonly Mnemonic[] s_arithmetic =
        [Mnemonic.Add, Mnemonic.Or, Mnemonic.Adc, Mnemonic.Sbb, Mnemonic.And, Mnemonic.Sub, Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Mov];

    private static readonly Op[] s_swapped = Swap();
    private static readonly byte[] s_operands = Build();

    /// <summary>The register operand of an instruction that can become a memory operand, or -1.</summary>
    /// <param name="instruction">The guest's instruction; changed to an equivalent form that permits it.</param>
    public static int Choose(ref Instruction instruction)
    {
        int operand = Find(instruction);
        if (operand >= 0 || s_swapped[(int)instruction.Code] == 0)
        {
            return operand;
        }

        Instruction swapped = instruction;
        swapped.Code = s_swapped[(int)instruction.Code];
        if (swapped.Code == instruction.Code)
        {
            (swapped.Op0Register, swapped.Op1Register) = (instruction.Op1Register, instruction.Op0Register);
        }

        operand = Find(swapped);
        if (operand >= 0)
        {
            instruction = swapped;
        }

        return operand;
    }

    private static int Find(in Instruction instruction)
    {
        int operands = instruction.RoundingControl == RoundingControl.None ? s_operands[(int)instruction.Code] : 0;
        for (int i = 0; operands != 0; i++, operands >>= 1)
        {
            if ((operands & 1) == 0 || instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            int guest = GuestRegisters.Number(instruction.GetOpRegister(i));
            if (guest >= 0 && GuestRegisters.HostOf(guest) == Host.None && !IsNamedTwice(instruction, i, guest))
            {
                return i;
            }
        }

        return -1;
    }

    private static bool IsNamedTwice(in Instruction instruction, int operand, int guest)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (i != operand && instruction.GetOpKind(i) == OpKind.Register && GuestRegisters.Number(instruction.GetOpRegister(i)) == guest)
            {
                return true;
            }
        }

        return false;
    }

    private static byte[] Build()
    {
        byte[] operands = new byte[s_swapped.Length];
        foreach (Op code in Enum.GetValues<Op>())
        {
            OpCodeInfo info = code.ToOpCode();
            for (int i = 0; i < info.OpCount; i++)
            {
                if (info.GetOpKind(i) is OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem
                    && (i != 0 || CanBeFirst(code, info.GetOpKind(0))))
                {
                    operands[(int)code] |= (byte)(1 << i);
                }
            }
        }

        return operands;
    }

    // A first operand must be written as a whole register. Not XCHG, which locks memory, nor BT, whose memory operand is a bit string.
    private static bool CanBeFirst(Op code, OpCodeOperandKind kind) => code.Mnemonic() switch
    {
        Mnemonic.Cmp or Mnemonic.Test or Mnemonic.Mul or Mnemonic.Div or Mnemonic.Idiv => true,
        Mnemonic.Imul => code.ToOpCode().OpCount == 1,
        Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg or Mnemonic.Not or Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Sal or Mnemonic.Rol
            or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld or Mnemonic.Shrd => kind == OpCodeOperandKind.r64_or_mem,
        _ => kind == OpCodeOperandKind.r64_or_mem && Array.IndexOf(s_arithmetic, code.Mnemonic()) >= 0,
    };

    // The form of the same instruction whose other register may be a memory operand; for TEST, the same form.
    private static Op[] Swap()
    {
        var swapped = new Op[(int)Enum.GetValues<Op>().Max() + 1];
        foreach (int bits in (ReadOnlySpan<int>)[8, 16, 32, 64])
        {
            foreach (Mnemonic mnemonic in s_arithmetic)
            {
                Op stores = Enum.Parse<Op>($"{mnemonic}_rm{bits}_r{bits}");
                Op loads = Enum.Parse<Op>($"{mnemonic}_r{bits}_rm{bits}");
                swapped[(int)stores] = loads;
                swapped[(int)loads] = stores;
            }

            Op test = Enum.Parse<Op>($"Test_rm{bits}_r{bits}");
            swapped[(int)test] = test;
        }

        return swapped;
    }
}
