using System.Text;
using Iced.Intel;
using Yadokari.Conformance.Tests.Engine;
using Yadokari.Translation;
using Yadokari.Translation.Tests;

namespace Yadokari.Conformance.Tests;

/// <summary>
/// Recorded single instructions of a Harris 80286 in real mode (SingleStepTests/80286 1.0.0, Daniel Balsom) against the engine. What
/// processors since the 386 do otherwise is left out, by name.
/// </summary>
public class RealModeVectorTests
{
    // Bits 12 to 15 of FLAGS: set on an 8086, clear on a 286 in real mode, IOPL and NT since.
    private const ushort FlagsSince386 = 0xF000;

    private static readonly string[] s_registers = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    private static readonly string[] s_segments = ["es", "cs", "ss", "ds"];

    /// <summary>Why a vector says nothing of later processors, and which do not.</summary>
    private static readonly (string Reason, Func<RealModeVector, bool> Covers)[] s_exclusions =
    [
        ("LOCK before an instruction that can't be locked is #UD since the 386", v => HasPrefix(v, 0xF0) && Decode(v).IsInvalid),
        ("a word that a string instruction can't reach at FFFF: the 286 has moved SI, DI and CX when it faults",
            v => v.Exception?.Number == 13 && Decode(v).IsStringInstruction),
        ("more than 10 bytes: #GP on a 286, whose successors take 15", v => Decode(v).Length > 10),
    ];

    [Fact]
    public void Every_recorded_instruction_does_what_the_processor_did()
    {
        Assert.SkipWhen(RealModeVector.File is null, "The recorded vectors are not beside the repository; YADOKARI_VECTORS names their folder.");
        RealModeVector[] all = [.. RealModeVector.Read(RealModeVector.File!)];
        var left = new Dictionary<string, int>();
        var failures = new Dictionary<string, (int Count, string First)>();
        int passed = 0;
        OwnThread.Run(() =>
        {
            using var machine = new RealModeMachine(new TranslationEngine());
            foreach (RealModeVector vector in all)
            {
                string? reason = s_exclusions.FirstOrDefault(e => e.Covers(vector)).Reason;
                if (reason != null)
                {
                    left[reason] = left.GetValueOrDefault(reason) + 1;
                    continue;
                }

                string? difference = Difference(machine, vector);
                if (difference == null)
                {
                    passed++;
                }
                else if (ProcessorDifferences.IsIntel && IsShiftByImmediate(vector) && difference.Contains("flags", StringComparison.Ordinal))
                {
                    const string Undefined = "the overflow flag of a shift by more than one bit, which is undefined: Intel's have another than a 286";
                    left[Undefined] = left.GetValueOrDefault(Undefined) + 1;
                }
                else
                {
                    (int count, string first) = failures.GetValueOrDefault(vector.Form, (0, difference));
                    failures[vector.Form] = (count + 1, first);
                }
            }
        });

        foreach ((string reason, int count) in left)
        {
            TestContext.Current.TestOutputHelper?.WriteLine($"{count} left out: {reason}");
        }

        var report = new StringBuilder();
        foreach ((string form, (int count, string first)) in failures)
        {
            report.AppendLine($"{form}: {count} differ, first {first}");
        }

        Assert.True(failures.Count == 0, $"{passed} of {all.Length} vectors passed, {left.Values.Sum()} left out:\n{report}");
        Assert.Equal(13_000, passed + left.Values.Sum());
    }

    private static bool HasPrefix(RealModeVector vector, byte prefix)
    {
        foreach (byte b in Convert.FromHexString(vector.Bytes))
        {
            if (b == prefix)
            {
                return true;
            }

            if (b is not (0x26 or 0x2E or 0x36 or 0x3E or 0xF0 or 0xF2 or 0xF3))
            {
                return false;
            }
        }

        return false;
    }

    private static bool IsShiftByImmediate(RealModeVector vector) => vector.Form.StartsWith("C0.", StringComparison.Ordinal) || vector.Form.StartsWith("C1.", StringComparison.Ordinal);

    private static Instruction Decode(RealModeVector vector) => Iced.Intel.Decoder.Create(16, Convert.FromHexString(vector.Bytes)).Decode();

    // A 286 raises 13 for what is beyond the stack segment as for any other; since the 386 that is #SS, 12. The recorded handler becomes 12's.
    private static RealModeVector Since386(RealModeVector vector)
    {
        if (vector.Exception?.Number != 13)
        {
            return vector;
        }

        Instruction instruction = Decode(vector);
        bool memory = Enumerable.Range(0, instruction.OpCount).Any(i => instruction.GetOpKind(i) == OpKind.Memory);
        if (memory ? instruction.MemorySegment != Register.SS : !instruction.IsStackInstruction)
        {
            return vector;
        }

        int[][] ram = [.. vector.Initial.Ram.Select(p => p[0] / 4 == 13 ? [p[0] - 4, p[1]] : p)];
        return vector with { Initial = vector.Initial with { Ram = ram } };
    }

    // Of the flags an instruction defines, those to hold against the record.
    private static ushort MaskOf(RealModeVector vector)
    {
        // A divide error comes before the result that flags could tell of.
        const ushort Arithmetic = 0x8D5;
        return (ushort)(vector.FlagsMask & ~FlagsSince386 & (vector.Exception?.Number == 0 ? ~Arithmetic : ~0));
    }

    private static string? Difference(RealModeMachine machine, RealModeVector recorded)
    {
        RealModeVector vector = Since386(recorded);
        machine.Load(vector.Initial);
        if (machine.Run() is { } end)
        {
            return $"{vector.Name} ({vector.Bytes}): {end}";
        }

        ushort mask = MaskOf(vector);

        // The record's address is that of the bus, which is even.
        int pushed = vector.Exception is { } e ? e.FlagsAddress | (vector.Initial.Regs["sp"] & 1) : int.MinValue;
        var text = new StringBuilder();
        foreach (string name in (IEnumerable<string>)[.. s_registers, .. s_segments, "ip", "flags"])
        {
            ushort expected = vector.Final.Regs.TryGetValue(name, out ushort changed) ? changed : vector.Initial.Regs[name];
            ushort seen = machine[name];
            ushort compared = name == "flags" ? mask : ushort.MaxValue;
            if (((expected ^ seen) & compared) != 0)
            {
                text.Append($" {name} {expected & compared:x} expected, {seen & compared:x} found;");
            }
        }

        var memory = vector.Initial.Ram.ToDictionary(p => p[0], p => p[1]);
        foreach (int[] pair in vector.Final.Ram)
        {
            memory[pair[0]] = pair[1];
        }

        foreach ((int address, int value) in memory)
        {
            int compared = address == pushed ? mask & 0xFF : address == pushed + 1 ? mask >> 8 : 0xFF;
            if (((machine.Byte(address) ^ value) & compared) != 0)
            {
                text.Append($" [{address:x}] {value & compared:x} expected, {machine.Byte(address) & compared:x} found;");
            }
        }

        return text.Length == 0 ? null : $"{vector.Name} ({vector.Bytes}):{text}";
    }
}
