namespace Yadokari.Translation.Tests;

/// <summary>Random bytes that are often enough instructions.</summary>
internal static class WildCode
{
    // Opcodes that do what a monitor fears; a random ModR/M byte and more follow.
    private static readonly byte[][] s_opcodes = [.. """
        88 89 8A 8B C6 C7 86 87 00 01 28 29 80 81 83 84 85 63 69 6B 8D 8F FE FF F6 F7 D0 D1 D2 D3 C0 C1 50 51 54 58 5C 5D 60 61 9C 9D C8 C9
        A0 A1 A2 A3 A4 A5 A6 A7 AA AB AC AD AE AF 6C 6D 6E 6F E4 E5 E6 E7 EC ED EE EF C2 C3 CA CB CC CD CE CF E8 E9 EB EA 9A 70 74 75 7F E0
        E1 E2 E3 8C 8E 06 07 0E 16 17 1E 1F C4 C5 62 D7 F4 F5 F8 F9 FA FB FC FD D8 D9 DA DB DC DD DE DF 9B 9E 9F 27 2F 37 3F D4 D5
        0F00 0F01 0F02 0F03 0F05 0F06 0F07 0F08 0F09 0F0B 0F20 0F21 0F22 0F23 0F30 0F31 0F32 0F33 0F34 0F35 0FA0 0FA1 0FA2 0FA8 0FA9 0FAA
        0FAE 0FC7 0FC0 0FC1 0FB0 0FB1 0FB2 0FB4 0FB5 0FA3 0FAB 0FB3 0FBB 0FBA 0FA4 0FA5 0FAC 0FAD 0FB6 0FBE 0F84 0F85 0F10 0F11 0F28 0F29
        0F2B 0FE7 0FF7 0FC3 0F6F 0F7F 0F16 0F17 0F58 0F5E 0FD7 0F3882 0F3880 0F38F0 0F38F1 0F38F6 0F3AF0 0F1C 0F1E 0F0D 0F18 0F77 0F78 0FFF
        0F01C1 0F01D0 0F01D1 0F01D9 0F01F8 0F01F9 0F01CA 0F01CB F3A4 F3AA F2AE F3A6 F36C F36E F30FAE F30FC7 F30F01 F00FB1 F087 F00FC7 48CF
        480FAE 480FC7 480F07 C4E27990 C4E2F992 C4E27D2C C4E27D8E C5FC77 C5FD6F C5FD7F C5F910 62F17C4811 62F17FC96F 62F27D4992 62F27D49A2
        62F27D498B C4E17B92 C5FB90 0FAE38 0FAE28 0F38F8 660F38F8 F30F38F6
        """.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(Convert.FromHexString)];

    private static readonly byte[] s_prefixes = [0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x64, 0x65, 0x41, 0x42, 0x44, 0x48, 0x49, 0x4C, 0x4F];

    /// <summary>Fills memory: some pages with plain random bytes, others with fearsome instructions.</summary>
    public static void Fill(Random random, Span<byte> memory)
    {
        random.NextBytes(memory);
        for (int page = 0; page < memory.Length; page += 4096)
        {
            if (random.Next(3) != 0)
            {
                FillWithInstructions(random, memory.Slice(page, 4096));
            }
        }
    }

    private static void FillWithInstructions(Random random, Span<byte> page)
    {
        int at = random.Next(8);
        while (at < page.Length - 24)
        {
            if (random.Next(3) == 0)
            {
                page[at++] = s_prefixes[random.Next(s_prefixes.Length)];
            }

            byte[] opcode = s_opcodes[random.Next(s_opcodes.Length)];
            opcode.CopyTo(page[at..]);
            at += opcode.Length;

            // Mostly a register or [register], which needs nothing more.
            page[at++] = (byte)(random.Next(4) == 0 ? random.Next(256) : random.Next(2) == 0 ? 0xC0 | random.Next(64) : random.Next(8) << 3 | random.Next(4));
            at += random.Next(8) == 0 ? random.Next(6) : 0;
        }
    }
}
