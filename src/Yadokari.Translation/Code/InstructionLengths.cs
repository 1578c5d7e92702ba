namespace Yadokari.Translation.Code;

/// <summary>
/// Computes the length of an instruction, whether its opcode is valid or not. Processors fetch a whole instruction before they raise #UD: at the
/// end of a page, #PF of the next page has priority over #UD, and so has #GP for more than 15 bytes. The lengths are those of AMD's processors
/// (measured on Zen 4; opcode maps of AMD APM 3, appendix A).
/// </summary>
internal static class InstructionLengths
{
    /// <summary>The bytes that follow an opcode.</summary>
    [Flags]
    private enum Form : byte
    {
        Nothing = 0,
        ModRm = 1,

        /// <summary>ModRM with a register operand, whatever its mod field.</summary>
        Registers = 2,
        Byte = 4,
        Word = 8,

        /// <summary>An immediate of the operand's size, but of four bytes for eight.</summary>
        Operand = 16,

        /// <summary>An immediate of the operand's size.</summary>
        Whole = 32,
        Address = 64,
        Far = Operand | Word,
    }

    /// <summary>The prefixes that change the length of the rest.</summary>
    /// <param name="Operand">66h, or the equivalent field of a vector prefix.</param>
    /// <param name="Address">67h.</param>
    /// <param name="Rex">REX, 0 without one.</param>
    private record struct Prefixes(bool Operand, bool Address, byte Rex);

    /// <summary>An opcode without its escape bytes.</summary>
    /// <param name="Value">Its byte.</param>
    /// <param name="Map">The forms of the opcodes of its map.</param>
    /// <param name="Form">The form of this opcode where the map has none.</param>
    private record struct Opcode(byte Value, Form[] Map, Form? Form);

    private const int Unknown = int.MaxValue;

    private static readonly Form[] s_primary = BuildPrimary();
    private static readonly Form[] s_secondary = BuildSecondary();

    // The second map with VEX and EVEX, where some opcodes are other instructions.
    private static readonly Form[] s_vex = Change(s_secondary, (0x38, Form.Nothing), (0x3A, Form.Nothing), (0x0F, Form.ModRm | Form.Byte));
    private static readonly Form[] s_evex = Change(s_vex, (0x78, Form.ModRm), (0x7A, Form.ModRm), (0x7B, Form.ModRm));

    /// <summary>The length of the instruction that begins with these bytes; 0 if it continues after them.</summary>
    /// <param name="bytes">Its bytes, or the first of them.</param>
    /// <param name="bitness">16, 32 or 64.</param>
    /// <param name="shortJumps">Whether jumps of 64-bit code have an offset of two bytes after an operand-size prefix.</param>
    /// <param name="xop">Whether the processor has XOP: instructions of its first map have an immediate byte then.</param>
    public static int Of(ReadOnlySpan<byte> bytes, int bitness, bool shortJumps, bool xop)
    {
        int length = LengthOf(bytes, bitness, shortJumps, xop);
        return length <= bytes.Length ? length : 0;
    }

    // The length, or more than the number of bytes if they do not determine it.
    private static int LengthOf(ReadOnlySpan<byte> bytes, int bitness, bool shortJumps, bool xop)
    {
        int at = SkipPrefixes(bytes, bitness, out Prefixes prefixes);
        if (!TryReadOpcode(bytes, bitness, xop, ref prefixes, ref at, out Opcode opcode))
        {
            return Unknown;
        }

        bool primary = opcode.Map == s_primary;
        Form kind = opcode.Form ?? opcode.Map[opcode.Value];
        if ((kind & (Form.ModRm | Form.Registers)) != 0)
        {
            if (at == bytes.Length)
            {
                return Unknown;
            }

            byte modRm = bytes[at];
            int length = (kind & Form.Registers) != 0 ? 1 : LengthOfModRm(bytes[at..], bitness == 16 ? !prefixes.Address : prefixes.Address && bitness == 32);
            if (length == Unknown)
            {
                return Unknown;
            }

            at += length;
            if (primary && opcode.Value is 0xF6 or 0xF7 && (modRm & 0x30) == 0)
            {
                kind |= opcode.Value == 0xF6 ? Form.Byte : Form.Operand;
            }
        }

        bool jumps = primary ? opcode.Value is 0xE8 or 0xE9 : opcode.Value is >= 0x80 and <= 0x8F;
        bool wide = (prefixes.Rex & 8) != 0;
        bool small = bitness == 16 ? !prefixes.Operand : prefixes.Operand && !wide && (bitness == 32 || !jumps || shortJumps);
        int offset = bitness == 64 ? prefixes.Address ? 4 : 8 : (bitness == 32) != prefixes.Address ? 4 : 2;
        return at + ((kind & Form.Byte) != 0 ? 1 : 0) + ((kind & Form.Word) != 0 ? 2 : 0) + ((kind & Form.Operand) != 0 ? small ? 2 : 4 : 0)
            + ((kind & Form.Whole) != 0 ? wide ? 8 : small ? 2 : 4 : 0) + ((kind & Form.Address) != 0 ? offset : 0);
    }

    // Returns the offset of the opcode.
    private static int SkipPrefixes(ReadOnlySpan<byte> bytes, int bitness, out Prefixes prefixes)
    {
        int at = 0;
        prefixes = default;
        while (at < bytes.Length && InstructionForms.IsPrefix(bytes[at], bitness))
        {
            prefixes.Operand |= bytes[at] == 0x66;
            prefixes.Address |= bytes[at] == 0x67;
            prefixes.Rex = bitness == 64 && (bytes[at] & 0xF0) == 0x40 ? bytes[at] : (byte)0;
            at++;
        }

        return at;
    }

    // Reads the last byte of the opcode, its map, and its form where the map has none. False if bytes are missing.
    private static bool TryReadOpcode(ReadOnlySpan<byte> bytes, int bitness, bool xop, ref Prefixes prefixes, ref int at, out Opcode opcode)
    {
        opcode = default;
        if (at == bytes.Length)
        {
            return false;
        }

        opcode = new Opcode(bytes[at++], s_primary, null);
        return opcode.Value switch
        {
            0x0F => TryReadEscaped(bytes, ref at, ref opcode),
            0xC4 or 0xC5 or 0x62 or 0x8F when prefixes.Rex == 0 => TryReadVector(bytes, bitness, xop, ref prefixes, ref at, ref opcode),
            _ => true,
        };
    }

    // Reads an opcode after 0Fh: two-byte opcodes, three-byte opcodes of 0F38h and 0F3Ah, and 3DNow!, whose opcode is the last byte.
    private static bool TryReadEscaped(ReadOnlySpan<byte> bytes, ref int at, ref Opcode opcode)
    {
        if (at == bytes.Length)
        {
            return false;
        }

        opcode = new Opcode(bytes[at++], s_secondary, null);
        if (opcode.Value is 0x38 or 0x3A)
        {
            opcode.Form = opcode.Value == 0x38 ? Form.ModRm : Form.ModRm | Form.Byte;
            at++;
        }
        else if (opcode.Value == 0x0F)
        {
            opcode.Form = Form.ModRm | Form.Byte;
        }

        return at <= bytes.Length;
    }

    // Reads a VEX, EVEX or XOP prefix and the opcode. False for the older instructions with the same first byte.
    private static bool TryReadVector(ReadOnlySpan<byte> bytes, int bitness, bool xop, ref Prefixes prefixes, ref int at, ref Opcode opcode)
    {
        if (at == bytes.Length)
        {
            return false;
        }

        // LES, LDS and BOUND have no register operand in ModRM, and POP only 0 in its reg field.
        byte first = bytes[at];
        byte prefix = opcode.Value;
        if (!(prefix == 0x8F ? (first & 0x38) != 0 : bitness == 64 || first >= 0xC0))
        {
            return true;
        }

        at += prefix switch { 0xC5 => 1, 0x62 => 3, _ => 2 };
        if (at >= bytes.Length)
        {
            return false;
        }

        int number = prefix == 0x62 ? first & 3 : first & 31;
        Form? form = prefix switch
        {
            0xC5 => null,
            0x8F => number switch { 8 when xop => Form.ModRm | Form.Byte, 10 => Form.ModRm | Form.Operand, _ => Form.ModRm },
            _ => number switch { 1 => null, 3 => Form.ModRm | Form.Byte, _ => Form.ModRm },
        };
        opcode = new Opcode(bytes[at++], prefix == 0x62 ? s_evex : s_vex, form);
        prefixes.Operand = bitness == 16; // Immediates have 32 bits in all modes.
        return true;
    }

    // The length of ModRM, SIB and displacement.
    private static int LengthOfModRm(ReadOnlySpan<byte> bytes, bool words)
    {
        int mode = bytes[0] >> 6;
        int register = bytes[0] & 7;
        if (mode == 3)
        {
            return 1;
        }

        if (words)
        {
            return 1 + (mode == 1 ? 1 : mode == 2 || register == 6 ? 2 : 0);
        }

        int length = 1;
        if (register == 4)
        {
            if (bytes.Length == 1)
            {
                return Unknown;
            }

            length++;
            register = bytes[1] & 7;
        }

        return length + (mode == 1 ? 1 : mode == 2 || register == 5 ? 4 : 0);
    }

    private static Form[] BuildPrimary()
    {
        Form[] map = new Form[256];
        for (int row = 0; row < 0x40; row += 8)
        {
            Fill(map, Form.ModRm, row, row + 3);
            map[row + 4] = Form.Byte;
            map[row + 5] = Form.Operand;
        }

        Fill(map, Form.ModRm, 0x62, 0x63);
        Fill(map, Form.Byte, 0x70, 0x7F);
        Fill(map, Form.ModRm, 0x84, 0x8F);
        Fill(map, Form.Address, 0xA0, 0xA3);
        Fill(map, Form.Byte, 0xB0, 0xB7);
        Fill(map, Form.Whole, 0xB8, 0xBF);
        Fill(map, Form.ModRm, 0xC4, 0xC5);
        Fill(map, Form.ModRm, 0xD0, 0xD3);
        Fill(map, Form.Byte, 0xD4, 0xD5);
        Fill(map, Form.ModRm, 0xD8, 0xDF);
        Fill(map, Form.Byte, 0xE0, 0xE7);
        Fill(map, Form.Operand, 0xE8, 0xE9);
        Fill(map, Form.ModRm, 0xF6, 0xF7);
        Fill(map, Form.ModRm, 0xFE, 0xFF);
        return Change(
            map,
            (0x68, Form.Operand), (0x69, Form.ModRm | Form.Operand), (0x6A, Form.Byte), (0x6B, Form.ModRm | Form.Byte), (0x80, Form.ModRm | Form.Byte), (0x81, Form.ModRm | Form.Operand), (0x82, Form.ModRm | Form.Byte), (0x83, Form.ModRm | Form.Byte),
            (0x9A, Form.Far), (0xA8, Form.Byte), (0xA9, Form.Operand), (0xC0, Form.ModRm | Form.Byte), (0xC1, Form.ModRm | Form.Byte), (0xC2, Form.Word), (0xC6, Form.ModRm | Form.Byte), (0xC7, Form.ModRm | Form.Operand), (0xC8, Form.Word | Form.Byte),
            (0xCA, Form.Word), (0xCD, Form.Byte), (0xEA, Form.Far), (0xEB, Form.Byte));
    }

    private static Form[] BuildSecondary()
    {
        Form[] map = new Form[256];
        Array.Fill(map, Form.ModRm);
        Fill(map, Form.Nothing, 0x04, 0x0C);
        Fill(map, Form.Registers, 0x20, 0x23);
        Fill(map, Form.Nothing, 0x24, 0x27);
        Fill(map, Form.Nothing, 0x30, 0x37);
        Fill(map, Form.Nothing, 0x39, 0x3F);
        Fill(map, Form.ModRm | Form.Byte, 0x70, 0x73);
        Fill(map, Form.Nothing, 0x7A, 0x7B);
        Fill(map, Form.Operand, 0x80, 0x8F);
        Fill(map, Form.Nothing, 0xA0, 0xA2);
        Fill(map, Form.Nothing, 0xA6, 0xAA);
        Fill(map, Form.ModRm | Form.Byte, 0xC4, 0xC6);
        Fill(map, Form.Nothing, 0xC8, 0xCF);
        return Change(
            map,
            (0x0E, Form.Nothing), (0x77, Form.Nothing), (0x78, Form.ModRm | Form.Word), (0xA4, Form.ModRm | Form.Byte), (0xAC, Form.ModRm | Form.Byte), (0xB9, Form.Nothing), (0xBA, Form.ModRm | Form.Byte), (0xC2, Form.ModRm | Form.Byte), (0xFF, Form.Nothing));
    }

    private static void Fill(Form[] map, Form kind, int first, int last) => Array.Fill(map, kind, first, last - first + 1);

    private static Form[] Change(Form[] map, params ReadOnlySpan<(int Opcode, Form Kind)> changes)
    {
        Form[] changed = [.. map];
        foreach ((int opcode, Form kind) in changes)
        {
            changed[opcode] = kind;
        }

        return changed;
    }
}
