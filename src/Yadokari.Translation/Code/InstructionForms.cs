using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>What an instruction's bytes say and its decoded form does not: REX where it makes another instruction, and too great a length.</summary>
internal static class InstructionForms
{
    /// <summary>The most bytes of an instruction: longer ones are #GP (SDM 3A 6.15, #GP; AMD APM 3 1.2.1).</summary>
    public const int MaxLength = 15;

    /// <summary>Stands for an instruction that goes on after <see cref="MaxLength"/> bytes: the decoder makes none of this code.</summary>
    public const Iced.Intel.Code TooLong = Iced.Intel.Code.DeclareByte;

    /// <summary>Whether <see cref="Resolve"/> has to look at the bytes.</summary>
    public static bool AreAmbiguous(in Instruction instruction)
        => instruction.Code is Iced.Intel.Code.INVALID or Iced.Intel.Code.Pause or Iced.Intel.Code.Call_m1632;

    /// <summary>Makes of a decoded instruction the one that its bytes are. False if these are only its beginning.</summary>
    /// <param name="instruction">What the decoder made of them.</param>
    /// <param name="bitness">16, 32 or 64.</param>
    /// <param name="set">The instructions that there are.</param>
    /// <param name="bytes">Its bytes, and what follows them.</param>
    public static bool Resolve(ref Instruction instruction, int bitness, InstructionSet set, ReadOnlySpan<byte> bytes)
    {
        if (instruction.IsInvalid)
        {
            bytes = bytes[..Math.Min(bytes.Length, MaxLength)];
            bool xop = set.Has(Iced.Intel.Code.XOP_Vpcomb_xmm_xmm_xmmm128_imm8);
            int length = InstructionLengths.Of(bytes, bitness, shortJumps: (set.Decoding & DecoderOptions.AMD) != 0, xop);
            if (length == 0 && bytes.Length < MaxLength)
            {
                return false;
            }

            instruction.Code = length == 0 ? TooLong : instruction.Code;
            ulong start = instruction.IP;
            instruction.Length = length == 0 ? MaxLength : length;
            instruction.NextIP = start + (ulong)instruction.Length;
            return true;
        }

        bytes = bytes[..instruction.Length];
        byte rex = bitness == 64 ? RexOf(bytes) : (byte)0;
        bool wide = (rex & 8) != 0;
        if (instruction.Code == Iced.Intel.Code.Pause && (rex & 1) != 0)
        {
            // XCHG with R8: the repeat prefix means nothing then.
            instruction.Code = wide ? Iced.Intel.Code.Xchg_r64_RAX : bytes.IndexOf((byte)0x66) >= 0 ? Iced.Intel.Code.Xchg_r16_AX : Iced.Intel.Code.Xchg_r32_EAX;
            instruction.Op0Kind = instruction.Op1Kind = OpKind.Register;
            (instruction.Op0Register, instruction.Op1Register) = instruction.Code switch
            {
                Iced.Intel.Code.Xchg_r64_RAX => (Register.R8, Register.RAX),
                Iced.Intel.Code.Xchg_r16_AX => (Register.R8W, Register.AX),
                _ => (Register.R8D, Register.EAX),
            };
        }
        else if (instruction.Code == Iced.Intel.Code.Call_m1632 && wide)
        {
            // AMD's processors: the pointer has 32 bits all the same, but eight bytes each are pushed.
            instruction.Code = Iced.Intel.Code.Call_m1664;
        }

        return true;
    }

    internal static bool IsPrefix(byte value, int bitness)
        => value is 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65 or 0x66 or 0x67 or 0xF0 or 0xF2 or 0xF3 || (bitness == 64 && (value & 0xF0) == 0x40);

    // A REX prefix counts where the opcode follows it.
    private static byte RexOf(ReadOnlySpan<byte> bytes)
    {
        byte last = 0;
        foreach (byte value in bytes)
        {
            if (!IsPrefix(value, 64))
            {
                break;
            }

            last = value;
        }

        return (last & 0xF0) == 0x40 ? last : (byte)0;
    }
}
