using Iced.Intel;
using Yadokari.Translation.Code;

namespace Yadokari.Translation.Tests;

/// <summary>How many bytes are fetched of what is no instruction, as AMD's processors have it, and of what is one.</summary>
public sealed class InstructionLengthsTests
{
    [Theory]
    [InlineData("CE", 1, "INTO")]
    [InlineData("D4AA", 2, "AAM")]
    [InlineData("82C001", 3, "of group 1 in its old place")]
    [InlineData("9A112233445566", 7, "a far call")]
    [InlineData("669A11223344", 6, "one with a small offset")]
    [InlineData("C7C811223344", 6, "a member that group 11 does not have")]
    [InlineData("0FFF", 2, "UD0")]
    [InlineData("0FB9", 2, "UD1")]
    [InlineData("0F04", 2, "no opcode")]
    [InlineData("0F6C0411", 4, "PUNPCKLQDQ without its prefix")]
    [InlineData("0F3A7744112233", 7, "no opcode, with an immediate byte")]
    [InlineData("F00F20C0", 4, "a locked move, of registers whatever ModRM says")]
    [InlineData("F00F2044", 4, "one whose ModRM means memory elsewhere")]
    [InlineData("C4E178", 0, "bytes of an instruction that goes on")]
    [InlineData("C4E17804", 4, "VEX and no opcode")]
    [InlineData("C4E47800441122", 7, "VEX of a map that is not")]
    [InlineData("48C505112233", 0, "REX, and a part of what is LDS elsewhere")]
    [InlineData("48C50511223344", 7, "REX, and all of what is LDS elsewhere")]
    [InlineData("8FEA7800C011223344", 9, "XOP with four immediate bytes")]
    [InlineData("8FE0000000", 5, "XOP of map 0")]
    [InlineData("62F17C4804", 5, "EVEX and no opcode")]
    [InlineData("62F97C4804", 5, "EVEX of a map whose number has more bits")]
    [InlineData("62F17C48C2C001", 7, "EVEX with an immediate byte")]
    public void Are_known_of_what_is_no_instruction(string code, int length, string what)
    {
        byte[] bytes = Convert.FromHexString(code);
        Assert.Equal($"{what}: {length}", $"{what}: {InstructionLengths.Of(bytes, 64, shortJumps: true, xop: false)}");
        for (int part = 0; part < bytes.Length && length != 0; part++)
        {
            Assert.Equal(0, InstructionLengths.Of(bytes.AsSpan(0, part), 64, shortJumps: true, xop: false));
        }
    }

    [Theory]
    [InlineData(64)]
    [InlineData(32)]
    [InlineData(16)]
    public void Are_those_of_the_decoder_for_instructions(int bitness)
    {
        var random = new Random(bitness);
        byte[] bytes = new byte[15];
        for (int i = 0; i < 300_000; i++)
        {
            random.NextBytes(bytes);
            byte[] begin = [.. Begin(random)];
            begin.CopyTo(bytes, 0);
            Decoder decoder = Decoder.Create(bitness, bytes, DecoderOptions.AMD);
            decoder.Decode(out Instruction instruction);

            // Of which AMD's processors have none.
            bool foreign = instruction.Mnemonic is Mnemonic.Ud1 or Mnemonic.Vmread || instruction.Code.CpuidFeatures().Any(f => f.ToString().StartsWith("PADLOCK", StringComparison.Ordinal));
            if (!instruction.IsInvalid && !foreign)
            {
                Assert.Equal($"{instruction.Code} {instruction.Length}", $"{instruction.Code} {InstructionLengths.Of(bytes, bitness, shortJumps: true, xop: true)}");
            }
        }
    }

    private static List<byte> Begin(Random random)
    {
        List<byte> bytes = [];
        byte[] prefixes = [0x66, 0x67, 0xF2, 0xF3, 0x2E, 0x48, 0x41];
        for (int left = random.Next(3); left > 0; left--)
        {
            bytes.Add(prefixes[random.Next(prefixes.Length)]);
        }

        bytes.AddRange(random.Next(7) switch
        {
            0 => [0x0F],
            1 => [0x0F, 0x38],
            2 => [0x0F, 0x3A],
            3 => [0xC5],
            4 => [0xC4, (byte)(random.Next(0x100) & 0xE0 | random.Next(1, 4))],
            5 => [0x62, (byte)(random.Next(0x100) & 0xF0 | random.Next(1, 7))],
            _ => (byte[])[],
        });
        return bytes;
    }
}
