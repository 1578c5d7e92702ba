using Iced.Intel;

namespace Yadokari.Debugging.Dump;

/// <summary>Reads guest memory at a linear address; false if any byte is not mapped.</summary>
public delegate bool LinearReader(ulong address, Span<byte> data);

/// <summary>Disassembles code around an instruction.</summary>
public static class CodeListing
{
    private const int MaxInstructionLength = 15;
    private const int Back = 48;

    /// <summary>Writes up to <paramref name="before"/> instructions before an address and <paramref name="after"/> from it on.</summary>
    /// <param name="writer">Receives the listing.</param>
    /// <param name="read">Guest memory.</param>
    /// <param name="linear">Linear address of the marked instruction.</param>
    /// <param name="rip">Its offset in CS, which is printed, and to which branch targets are relative.</param>
    /// <param name="bitness">16, 32 or 64.</param>
    /// <param name="before">Instructions to show before it, if a sequence of instructions that ends at it is found.</param>
    /// <param name="after">Instructions to show from it on.</param>
    public static void Write(TextWriter writer, LinearReader read, ulong linear, ulong rip, int bitness, int before = 8, int after = 8)
    {
        byte[] past = ReadBackwards(read, linear, (int)Math.Min(Back, rip));
        byte[] code = ReadForwards(read, linear, after * MaxInstructionLength);
        if (code.Length == 0)
        {
            writer.WriteLine($"  => {rip:x16}  not mapped");
            return;
        }

        var formatter = new IntelFormatter();
        formatter.Options.HexPrefix = "0x";
        formatter.Options.HexSuffix = null;
        formatter.Options.UppercaseHex = false;
        formatter.Options.SpaceAfterOperandSeparator = true;
        var output = new StringOutput();

        foreach ((Instruction instruction, int offset) in Decode(past, rip - (ulong)past.Length, bitness, StartOfBest(past, bitness), int.MaxValue).TakeLast(before))
        {
            WriteLine(writer, formatter, output, instruction, past.AsSpan(offset, instruction.Length), "  ");
        }

        string mark = "=>";
        foreach ((Instruction instruction, int offset) in Decode(code, rip, bitness, 0, after))
        {
            WriteLine(writer, formatter, output, instruction, code.AsSpan(offset, instruction.Length), mark);
            mark = "  ";
        }
    }

    /// <summary>
    /// The earliest offset from which valid instructions end exactly at the end of the bytes. x86 code can't be decoded backwards, but decoding soon
    /// synchronizes from a wrong start, so a long sequence is nearly always right.
    /// </summary>
    private static int StartOfBest(byte[] past, int bitness)
    {
        for (int start = 0; start < past.Length; start++)
        {
            int end = start;
            foreach ((Instruction instruction, int offset) in Decode(past, 0, bitness, start, int.MaxValue))
            {
                end = instruction.IsInvalid ? -1 : offset + instruction.Length;
                if (end < 0)
                {
                    break;
                }
            }

            if (end == past.Length)
            {
                return start;
            }
        }

        return past.Length;
    }

    private static List<(Instruction Instruction, int Offset)> Decode(byte[] bytes, ulong ip, int bitness, int start, int count)
    {
        var decoder = Decoder.Create(bitness, new ByteArrayCodeReader(bytes, start, bytes.Length - start), ip + (ulong)start);
        var list = new List<(Instruction, int)>();
        int offset = start;
        while (offset < bytes.Length && list.Count < count)
        {
            Instruction instruction = decoder.Decode();
            if (instruction.Length == 0)
            {
                break;
            }

            list.Add((instruction, offset));
            offset += instruction.Length;
        }

        return list;
    }

    private static void WriteLine(
        TextWriter writer, Formatter formatter, StringOutput output, in Instruction instruction, ReadOnlySpan<byte> bytes, string mark)
    {
        formatter.Format(instruction, output);
        writer.WriteLine($"  {mark} {instruction.IP:x16}  {Convert.ToHexStringLower(bytes),-22}  {output.ToStringAndReset()}");
    }

    private static byte[] ReadForwards(LinearReader read, ulong address, int length)
    {
        byte[] bytes = new byte[length];
        int untilPageEnd = (int)(4096 - (address & 4095));
        return read(address, bytes) ? bytes
            : untilPageEnd < length && read(address, bytes.AsSpan(0, untilPageEnd)) ? bytes[..untilPageEnd]
            : [];
    }

    private static byte[] ReadBackwards(LinearReader read, ulong address, int length)
    {
        byte[] bytes = new byte[length];
        int inPage = (int)(address & 4095);
        return address >= (ulong)length && read(address - (ulong)length, bytes) ? bytes
            : inPage < length && read(address - (ulong)inPage, bytes.AsSpan(0, inPage)) ? bytes[..inPage]
            : [];
    }
}
