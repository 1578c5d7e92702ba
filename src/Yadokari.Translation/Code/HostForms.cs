using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>Changes a guest instruction to the equivalent host instruction: replaces operands, and opcodes that 64-bit mode does not have.</summary>
internal static class HostForms
{
    /// <summary>Replaces a register operand by the slot of a guest register in <see cref="VcpuState"/>.</summary>
    public static void ToSlot(ref Instruction host, int operand, int guest)
    {
        host.SetOpKind(operand, OpKind.Memory);
        host.MemoryBase = Register.None;
        host.MemoryIndex = Register.None;
        host.MemoryDisplacement64 = (ulong)StateLayout.Gpr(guest);
        host.MemoryDisplSize = 8;
        host.SegmentPrefix = Register.GS;
    }

    /// <summary>Redirects the memory operand to a displacement from the address in rbp.</summary>
    public static void Redirect(ref Instruction host, int displacement)
    {
        host.MemoryBase = Register.RBP;
        host.MemoryIndex = Register.None;
        host.MemoryIndexScale = 1;
        host.MemoryDisplacement64 = (ulong)displacement;
        host.MemoryDisplSize = displacement == 0 ? 0 : displacement == (sbyte)displacement ? 1 : 8;
        host.SegmentPrefix = Register.None;
        host.Code = host.Code switch
        {
            Iced.Intel.Code.Mov_AL_moffs8 => Iced.Intel.Code.Mov_r8_rm8,
            Iced.Intel.Code.Mov_AX_moffs16 => Iced.Intel.Code.Mov_r16_rm16,
            Iced.Intel.Code.Mov_EAX_moffs32 => Iced.Intel.Code.Mov_r32_rm32,
            Iced.Intel.Code.Mov_RAX_moffs64 => Iced.Intel.Code.Mov_r64_rm64,
            Iced.Intel.Code.Mov_moffs8_AL => Iced.Intel.Code.Mov_rm8_r8,
            Iced.Intel.Code.Mov_moffs16_AX => Iced.Intel.Code.Mov_rm16_r16,
            Iced.Intel.Code.Mov_moffs32_EAX => Iced.Intel.Code.Mov_rm32_r32,
            Iced.Intel.Code.Mov_moffs64_RAX => Iced.Intel.Code.Mov_rm64_r64,
            _ => host.Code,
        };
    }

    /// <summary>The equivalent in 64-bit mode of an instruction of 16- or 32-bit code whose opcode has another meaning there.</summary>
    public static Iced.Intel.Code Code64Form(Iced.Intel.Code code) => code switch
    {
        Iced.Intel.Code.Inc_r16 => Iced.Intel.Code.Inc_rm16,
        Iced.Intel.Code.Inc_r32 => Iced.Intel.Code.Inc_rm32,
        Iced.Intel.Code.Dec_r16 => Iced.Intel.Code.Dec_rm16,
        Iced.Intel.Code.Dec_r32 => Iced.Intel.Code.Dec_rm32,
        Iced.Intel.Code.Add_rm8_imm8_82 => Iced.Intel.Code.Add_rm8_imm8,
        Iced.Intel.Code.Or_rm8_imm8_82 => Iced.Intel.Code.Or_rm8_imm8,
        Iced.Intel.Code.Adc_rm8_imm8_82 => Iced.Intel.Code.Adc_rm8_imm8,
        Iced.Intel.Code.Sbb_rm8_imm8_82 => Iced.Intel.Code.Sbb_rm8_imm8,
        Iced.Intel.Code.And_rm8_imm8_82 => Iced.Intel.Code.And_rm8_imm8,
        Iced.Intel.Code.Sub_rm8_imm8_82 => Iced.Intel.Code.Sub_rm8_imm8,
        Iced.Intel.Code.Xor_rm8_imm8_82 => Iced.Intel.Code.Xor_rm8_imm8,
        Iced.Intel.Code.Cmp_rm8_imm8_82 => Iced.Intel.Code.Cmp_rm8_imm8,
        _ => code,
    };

    /// <summary>Sets the register of a register operand.</summary>
    public static void SetRegister(ref Instruction instruction, int operand, Register register)
    {
        switch (operand)
        {
            case 0:
                instruction.Op0Register = register;
                break;
            case 1:
                instruction.Op1Register = register;
                break;
            case 2:
                instruction.Op2Register = register;
                break;
            case 3:
                instruction.Op3Register = register;
                break;
            default:
                instruction.Op4Register = register;
                break;
        }
    }
}
