using Iced.Intel;

namespace Yadokari.Conformance.Tests.Samples;

/// <summary>Gives an instruction's implicit operands values with which it does not merely fault.</summary>
internal static class Circumstances
{
    private const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7;

    /// <summary>Adjusts the image for the instruction that stands in it.</summary>
    public static void Arrange(in Instruction instruction, OperandMaker operands, Prng random, Placement placement, MachineImage image)
    {
        if (instruction.IsStackInstruction)
        {
            ArrangeStack(instruction, operands, random, placement, image);
        }

        if (instruction.IsStringInstruction)
        {
            ArrangeString(instruction, operands, random, placement, image);
        }

        switch (instruction.FlowControl)
        {
            case FlowControl.IndirectBranch or FlowControl.IndirectCall when !random.OneIn(6):
                SetTarget(instruction, operands, image);
                break;
            case FlowControl.Return when !random.OneIn(6):
                Store(image, image.StackTop, operands.CodeTarget());
                break;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Div or Mnemonic.Idiv:
                ArrangeDivision(instruction, operands, random, image);
                break;
            case Mnemonic.Bt or Mnemonic.Btc or Mnemonic.Btr or Mnemonic.Bts
                when instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register && !random.OneIn(8):
                operands.Set(instruction.Op1Register.GetNumber(), (ulong)(long)(random.Below(1024) - 512));
                break;
            case Mnemonic.Cmpxchg when random.OneIn(2):
                ulong expected = instruction.Op0Kind == OpKind.Memory ? Load(image, operands.Target) : image.Gpr[instruction.Op0Register.GetNumber() & 15];
                operands.Set(Rax, expected);
                break;
            case Mnemonic.Cmpxchg8b or Mnemonic.Cmpxchg16b when random.OneIn(2):
                int half = instruction.Mnemonic == Mnemonic.Cmpxchg8b ? 4 : 8;
                operands.Set(Rax, Load(image, operands.Target));
                operands.Set(Rdx, Load(image, operands.Target + (ulong)half));
                break;
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                operands.Set(Rcx, random.Pick(0UL, 1UL, 2UL, 1UL << operands.AddressSize & ~1UL, 0x1_0000_0001UL, random.Next()));
                break;
            case Mnemonic.Bound when !random.OneIn(3):
                // From the least to the greatest number.
                Store(image, operands.Target, instruction.Op0Register.IsGPR16() ? 0x7FFF_8000UL : 0x7FFF_FFFF_8000_0000UL);
                break;
            case Mnemonic.Xlatb:
                ulong table = placement.Choose(random, 1, low: true) - (image.Gpr[Rax] & 0xFF) - image.Segments.DataBase;
                image.Gpr[Rbx] = WithJunk(table, operands.AddressSize, random);
                break;
            case Mnemonic.Clzero:
                image.Gpr[Rax] = placement.Choose(random, 64, low: random.OneIn(2)) - image.Segments.DataBase;
                break;
            case Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu:
                operands.Set(Rdi, placement.Choose(random, 16, low: true) - image.Segments.DataBase);
                break;
            case Mnemonic.Movdir64b when !random.OneIn(4):
                operands.Set(instruction.Op0Register.GetNumber() & 15, (placement.Choose(random, 64, low: true) - image.Segments.DataBase) & ~63UL);
                break;
            case Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr when !random.OneIn(6):
                Store(image, operands.Target, 0x1F80 | (random.Next() & 0xE07F), 4);
                break;
            case Mnemonic.Fxrstor or Mnemonic.Fxrstor64 when !random.OneIn(6):
                int offset = Arena.Offset(operands.Target);
                if (offset >= 0 && Arena.Offset(operands.Target + 511) == offset + 511)
                {
                    image.Xsave.AsSpan(0, 464).CopyTo(image.Memory.AsSpan(offset));
                }

                break;
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                // No trap flag: single steps are another test's business.
                Store(image, image.StackTop, Load(image, image.StackTop) & ~0x100UL);
                break;
        }
    }

    private static void ArrangeStack(in Instruction instruction, OperandMaker operands, Prng random, Placement placement, MachineImage image)
    {
        ulong target = placement.Choose(random, 8, low: image.Bitness != 64 || random.OneIn(2)) - image.Segments.DataBase;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Leave:
                operands.Set(Rbp, target);
                break;
            case Mnemonic.Enter:
                operands.Set(Rsp, target + 0x40);
                operands.Set(Rbp, placement.Choose(random, 8, low: true) + 0x20 - image.Segments.DataBase);
                break;
            default:
                int change = instruction.StackPointerIncrement;
                operands.Set(Rsp, change < 0 ? target - (ulong)(long)change : target);
                break;
        }
    }

    private static void ArrangeString(in Instruction instruction, OperandMaker operands, Prng random, Placement placement, MachineImage image)
    {
        int size = Math.Max(1, instruction.MemorySize.GetSize());
        bool repeated = instruction.HasRepPrefix || instruction.HasRepnePrefix;
        int count = random.OneIn(12) ? random.Below(3000) : random.Below(40);
        bool low = operands.AddressSize < 64 || random.OneIn(2);
        if (repeated)
        {
            image.Gpr[Rcx] = WithJunk((uint)count, operands.AddressSize, random);
        }

        ulong source = placement.Choose(random, size, low);
        ulong destination = random.OneIn(6) ? source + (ulong)(random.Below(64) - 32) : placement.Choose(random, size, low);
        image.Gpr[Rsi] = WithJunk(source - image.Segments.DataBase, operands.AddressSize, random);
        image.Gpr[Rdi] = WithJunk(destination - image.Segments.DataBase, operands.AddressSize, random);
        if (!repeated || random.OneIn(3))
        {
            return;
        }

        // Something for the comparing ones to run through.
        bool down = (image.Rflags & 0x400) != 0;
        for (int i = 0; i < Math.Min(count * size, 200); i++)
        {
            ulong at = down ? 0UL - (ulong)i : (ulong)i;
            if (Arena.Offset(source + at) >= 0 && Arena.Offset(destination + at) >= 0)
            {
                byte value = image.At(source + at)[0];
                if (instruction.Mnemonic is Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq)
                {
                    value = (byte)(image.Gpr[Rax] >> (8 * (i % size)));
                }

                image.At(destination + at)[0] = value;
            }
        }
    }

    private static void ArrangeDivision(in Instruction instruction, OperandMaker operands, Prng random, MachineImage image)
    {
        if (random.OneIn(4))
        {
            return;
        }

        bool signed = instruction.Mnemonic == Mnemonic.Idiv;
        ulong rax = image.Gpr[Rax];
        if (instruction.Code is Code.Div_rm8 or Code.Idiv_rm8)
        {
            operands.Set(Rax, (rax & ~0xFFFFUL) | (uint)random.Below(random.Pick(0x80, 0x800)));
            return;
        }

        ulong sign = instruction.MemorySize.GetSize() switch
        {
            2 => (ulong)((short)rax >> 15),
            4 => (ulong)((int)rax >> 31),
            _ => (ulong)((long)rax >> 63),
        };
        operands.Set(Rdx, signed ? sign : (ulong)random.Below(4));
    }

    private static void SetTarget(in Instruction instruction, OperandMaker operands, MachineImage image)
    {
        if (instruction.Op0Kind == OpKind.Memory)
        {
            Store(image, operands.Target, operands.CodeTarget());
        }
        else
        {
            image.Gpr[instruction.Op0Register.GetNumber() & 15] = operands.CodeTarget();
        }
    }

    // A register of which an address of so many bits has the low part, and nobody the rest.
    private static ulong WithJunk(ulong value, int bits, Prng random) =>
        bits == 64 ? value : (value & ((1UL << bits) - 1)) | (random.Next() << bits);

    private static ulong Load(MachineImage image, ulong address)
    {
        ulong value = 0;
        for (int i = 0; i < 8; i++)
        {
            int offset = Arena.Offset(address + (ulong)i);
            value |= offset < 0 ? 0UL : (ulong)image.Memory[offset] << (8 * i);
        }

        return value;
    }

    private static void Store(MachineImage image, ulong address, ulong value, int length = 8)
    {
        for (int i = 0; i < length; i++)
        {
            int offset = Arena.Offset(address + (ulong)i);
            if (offset >= 0)
            {
                image.Memory[offset] = (byte)(value >> (8 * i));
            }
        }
    }
}
