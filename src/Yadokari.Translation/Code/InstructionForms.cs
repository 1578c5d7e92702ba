using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>Corrects decoded instructions by their bytes: REX prefixes that make another instruction, and excessive length.</summary>
internal static class InstructionForms
{
    /// <summary>Maximum length of an instruction in bytes: longer ones raise #GP (SDM 3A 6.15, #GP; AMD APM 3 1.2.1).</summary>
    public const int MaxLength = 15;

    /// <summary>Code of an instruction longer than <see cref="MaxLength"/> bytes; the decoder never returns this code.</summary>
    public const Iced.Intel.Code TooLong = Iced.Intel.Code.DeclareByte;

    /// <summary>Whether <see cref="Resolve"/> must be called for an instruction.</summary>
    public static bool AreAmbiguous(in Instruction instruction)
        => instruction.Code is Iced.Intel.Code.INVALID or Iced.Intel.Code.Pause or Iced.Intel.Code.Call_m1632;

    /// <summary>Corrects a decoded instruction by its bytes. False if it continues after them.</summary>
    /// <param name="instruction">The decoded instruction.</param>
    /// <param name="bitness">16, 32 or 64.</param>
    /// <param name="set">The guest's instruction set.</param>
    /// <param name="bytes">Its bytes, and those after them.</param>
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
            // With REX.B, F3 90 is XCHG with R8 instead of PAUSE.
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
            // On AMD's processors the far pointer still has a 32-bit offset, but each push has eight bytes.
            instruction.Code = Iced.Intel.Code.Call_m1664;
        }

        return true;
    }

    internal static bool IsPrefix(byte value, int bitness)
        => value is 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65 or 0x66 or 0x67 or 0xF0 or 0xF2 or 0xF3 || (bitness == 64 && (value & 0xF0) == 0x40);

    // The REX prefix, which is valid only directly before the opcode.
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
