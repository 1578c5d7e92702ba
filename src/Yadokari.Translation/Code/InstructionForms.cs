using Iced.Intel;

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

    /// <summary>Makes of a decoded instruction the one that its bytes are.</summary>
    public static void Resolve(ref Instruction instruction, int bitness, DecoderOptions decoding, ReadOnlySpan<byte> bytes)
    {
        if (instruction.IsInvalid)
        {
            instruction.Code = bytes.Length >= MaxLength && GoesOn(bitness, decoding, bytes) ? TooLong : instruction.Code;
            return;
        }

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
    }

    /// <summary>
    /// Whether bytes at the end of a page make no instruction, whatever follows them, so that #UD comes before the fetch of more. Which do
    /// is the processor's business: as AMD's do.
    /// </summary>
    public static bool AreInvalidBefore(ReadOnlySpan<byte> bytes, int bitness)
    {
        int prefixes = CountPrefixes(bytes, bitness);
        ReadOnlySpan<byte> opcode = bytes[prefixes..];
        return opcode is [0x0F, 0xB9, ..] || RefusesRex(bytes, bitness);
    }

    // A REX prefix right before VEX, XOP or EVEX is #UD as soon as these are there.
    private static bool RefusesRex(ReadOnlySpan<byte> bytes, int bitness)
    {
        ReadOnlySpan<byte> opcode = bytes[CountPrefixes(bytes, bitness)..];
        bool vector = opcode is [0xC5, _, ..] or [0xC4 or 0x62, _, _, ..] || (opcode is [0x8F, _, _, ..] && (opcode[1] & 0x1F) >= 8);
        return vector && bitness == 64 && RexOf(bytes) != 0;
    }

    // Whether an instruction has not ended after the most bytes that the decoder takes. Prefixes that say nothing of its length, or that
    // another takes the place of, are left out to see what comes of it.
    private static bool GoesOn(int bitness, DecoderOptions decoding, ReadOnlySpan<byte> bytes)
    {
        byte rex = bitness == 64 ? RexOf(bytes) : (byte)0;
        int prefixes = CountPrefixes(bytes, bitness);
        if (prefixes == bytes.Length)
        {
            return true;
        }

        if (RefusesRex(bytes, bitness))
        {
            return false;
        }

        int repeat = bytes[..prefixes].LastIndexOfAny((byte)0xF2, (byte)0xF3);
        var shortened = new List<byte>(MaxLength);
        foreach (byte size in (ReadOnlySpan<byte>)[0x66, 0x67])
        {
            if (bytes[..prefixes].Contains(size))
            {
                shortened.Add(size);
            }
        }

        if (rex != 0)
        {
            shortened.Add(rex);
        }

        shortened.AddRange(bytes[prefixes..]);
        return EndsEarly(shortened, bitness, decoding) || (repeat >= 0 && EndsEarly([bytes[repeat], .. shortened], bitness, decoding));
    }

    private static bool EndsEarly(List<byte> bytes, int bitness, DecoderOptions decoding)
    {
        var decoder = Decoder.Create(bitness, new ByteArrayCodeReader([.. bytes]), decoding);
        decoder.Decode(out _);
        return decoder.LastError == DecoderError.NoMoreBytes;
    }

    private static int CountPrefixes(ReadOnlySpan<byte> bytes, int bitness)
    {
        int prefixes = 0;
        while (prefixes < bytes.Length && IsPrefix(bytes[prefixes], bitness))
        {
            prefixes++;
        }

        return prefixes;
    }

    private static bool IsPrefix(byte value, int bitness)
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
