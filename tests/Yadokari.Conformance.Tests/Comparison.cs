using System.Text;
using Iced.Intel;
using Yadokari.Conformance.Tests.Samples;
using Decoder = Iced.Intel.Decoder;

namespace Yadokari.Conformance.Tests;

/// <summary>Compares what two subjects made of one program.</summary>
public static class Comparison
{
    private static readonly string[] s_gpr =
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

    /// <summary>The flags that mean something after a program: not RF, which a fault's frame has set.</summary>
    private const ulong Flags = 0x240FD5;

    /// <summary>The differences, a line each; empty where there are none that matter.</summary>
    public static List<string> Differences(Sample sample, Outcome expected, Outcome actual)
    {
        List<string> lines = [];
        bool bothRunOn = expected.Vector == Outcome.TimedOut && actual.Vector == Outcome.TimedOut;
        if (bothRunOn || Latitude.Allows(sample, expected, actual))
        {
            return lines;
        }

        if (expected.Vector != actual.Vector)
        {
            lines.Add($"vector {expected.Vector} at {expected.Rip:X} ({expected.FaultAddress:X}) expected, {actual.Vector} at {actual.Rip:X} ({actual.FaultAddress:X}) found");
            return lines;
        }

        // Which of an environment's words or a gather's elements is accessed first is the processor's business; the page is not, but for
        // an operand in two pages that may not be written.
        bool either = sample.PartialOnFault && sample.Target != 0 && Math.Max(expected.FaultAddress, actual.FaultAddress) - sample.Target < 512;
        Compare(lines, "error code", expected.ErrorCode, actual.ErrorCode, either ? ~1UL : ErrorCodeMask(expected));
        Compare(lines, "cr2", expected.FaultAddress, actual.FaultAddress, either ? 0 : sample.PartialOnFault ? ~0xFFFUL : ulong.MaxValue);
        Compare(lines, "rip", expected.Rip, actual.Rip, ulong.MaxValue);
        for (int i = 0; i < 16; i++)
        {
            Compare(lines, s_gpr[i], expected.Gpr[i], actual.Gpr[i], ulong.MaxValue);
        }

        bool finished = expected.Vector == 3;
        bool passed = expected.Vector is 1 or 3 || expected.Rip != sample.Instruction.IP;
        Compare(lines, "rflags", expected.Rflags, actual.Rflags, passed ? Flags & ~sample.UndefinedFlags : Flags);
        if (finished || !sample.PartialOnFault)
        {
            CompareX87(lines, expected.Xsave, actual.Xsave);
            CompareVectors(lines, expected.Xsave, actual.Xsave);
            CompareMemory(lines, sample, expected.Memory, actual.Memory);
        }

        return lines;
    }

    /// <summary>The sample's program, entry state and differences, for people.</summary>
    public static string Report(Sample sample, MachineImage before, IReadOnlyList<string> differences)
    {
        StringBuilder text = new();
        byte[] bytes = before.Code[..sample.CodeLength].ToArray();
        Decoder decoder = Decoder.Create(before.Bitness, bytes, before.Rip, ProcessorDifferences.Decoding);
        text.Append("seed 0x").Append(sample.Seed.ToString("X")).Append(", ").Append(sample.Instruction.Code).AppendLine();
        NasmFormatter formatter = new();
        StringOutput output = new();
        while (decoder.IP < before.Rip + (ulong)bytes.Length)
        {
            int start = (int)(decoder.IP - before.Rip);
            Instruction instruction = decoder.Decode();
            formatter.Format(instruction, output);
            text.Append("  ").Append((before.Rip + (ulong)start).ToString("X")).Append("  ")
                .Append(Convert.ToHexString(bytes, start, instruction.Length)).Append("  ").AppendLine(output.ToStringAndReset());
        }

        for (int i = 0; i < 16; i++)
        {
            text.Append(i % 8 == 0 ? "  " : " ").Append(s_gpr[i]).Append('=').Append(before.Gpr[i].ToString("X")).Append(i % 8 == 7 ? "\n" : "");
        }

        text.Append("  rflags=").Append(before.Rflags.ToString("X")).Append(" mxcsr=").Append(BitConverter.ToUInt32(before.Xsave, 24).ToString("X"))
            .Append(" fcw=").Append(BitConverter.ToUInt16(before.Xsave, 0).ToString("X")).Append(" fsw=").Append(BitConverter.ToUInt16(before.Xsave, 2).ToString("X"))
            .Append(" target=").AppendLine(sample.Target.ToString("X"));
        foreach (string difference in differences)
        {
            text.Append("    ").AppendLine(difference);
        }

        return text.ToString();
    }

    private static ulong ErrorCodeMask(Outcome expected) =>
        // Linux tells nobody whether kernel addresses are mapped: P is always set from TASK_SIZE_MAX on.
        expected.Vector == 14 && expected.FaultAddress >= 0x7FFF_FFFF_F000 ? ~1UL : ulong.MaxValue;

    private static void Compare(List<string> lines, string name, ulong expected, ulong actual, ulong mask)
    {
        if (((expected ^ actual) & mask) != 0)
        {
            lines.Add($"{name} {expected:X} expected, {actual:X} found");
        }
    }

    private static void CompareX87(List<string> lines, byte[] expected, byte[] actual)
    {
        // Bits 6, 7 and 13 to 15 of the control word are reserved (Intel SDM volume 1, 8.1.5).
        Compare(lines, "fcw", BitConverter.ToUInt16(expected, 0), BitConverter.ToUInt16(actual, 0), 0x1F3F);
        Compare(lines, "fsw", BitConverter.ToUInt16(expected, 2), BitConverter.ToUInt16(actual, 2), 0xFFFF);
        Compare(lines, "ftw", expected[4], actual[4], 0xFF);
        if ((expected[2] & 0x80) != 0)
        {
            // AMD's processors save the pointers with pending exceptions only.
            Compare(lines, "fop", BitConverter.ToUInt16(expected, 6), BitConverter.ToUInt16(actual, 6), 0x7FF);
            Compare(lines, "fip", BitConverter.ToUInt64(expected, 8), BitConverter.ToUInt64(actual, 8), ulong.MaxValue);
            Compare(lines, "fdp", BitConverter.ToUInt64(expected, 16), BitConverter.ToUInt64(actual, 16), ulong.MaxValue);
        }

        Compare(lines, "mxcsr", BitConverter.ToUInt32(expected, 24), BitConverter.ToUInt32(actual, 24), uint.MaxValue);
        for (int i = 0; i < 8; i++)
        {
            CompareBytes(lines, $"st{i}", expected.AsSpan(32 + (i * 16), 10), actual.AsSpan(32 + (i * 16), 10));
        }
    }

    private static void CompareVectors(List<string> lines, byte[] expected, byte[] actual)
    {
        Span<byte> one = stackalloc byte[64];
        Span<byte> other = stackalloc byte[64];
        int count = XsaveLayout.HasAvx512 ? 32 : 16;
        for (int i = 0; i < count; i++)
        {
            XsaveLayout.ReadVector(expected, i, one);
            XsaveLayout.ReadVector(actual, i, other);
            CompareBytes(lines, $"zmm{i}", one, other);
        }

        for (int i = 0; i < (XsaveLayout.HasAvx512 ? 8 : 0); i++)
        {
            int at = XsaveLayout.Opmask + (i * 8);
            Compare(lines, $"k{i}", BitConverter.ToUInt64(expected, at), BitConverter.ToUInt64(actual, at), ulong.MaxValue);
        }
    }

    private static void CompareBytes(List<string> lines, string name, ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
    {
        if (!expected.SequenceEqual(actual))
        {
            // Most significant byte first, as registers are written.
            byte[] one = expected.ToArray(), other = actual.ToArray();
            Array.Reverse(one);
            Array.Reverse(other);
            lines.Add($"{name} {Convert.ToHexString(one)} expected, {Convert.ToHexString(other)} found");
        }
    }

    private static void CompareMemory(List<string> lines, Sample sample, byte[] expected, byte[] actual)
    {
        if (expected.AsSpan().SequenceEqual(actual))
        {
            return;
        }

        int shown = 0;
        for (int i = 0; i < expected.Length && shown < 16; i++)
        {
            bool ignored = sample.IgnoredMemory is { } range && i >= range.Start.Value && i < range.End.Value;
            if (expected[i] != actual[i] && !ignored)
            {
                lines.Add($"[{Arena.Address(i):X}] {expected[i]:X2} expected, {actual[i]:X2} found");
                shown++;
            }
        }
    }
}
