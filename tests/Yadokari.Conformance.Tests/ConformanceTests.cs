using System.Text;
using Iced.Intel;
using Yadokari.Conformance.Tests.Engine;
using Yadokari.Conformance.Tests.Native;
using Yadokari.Conformance.Tests.Samples;
using Yadokari.Core.Engines;
using Yadokari.Translation;
using Yadokari.Translation.Direct;
using Yadokari.Translation.Tests;

namespace Yadokari.Conformance.Tests;

/// <summary>
/// The translation engine against the processor: random instances of single instructions, a group each. More cases by
/// <c>YADOKARI_CONFORMANCE_CASES</c> (for each group), another sequence by <c>YADOKARI_CONFORMANCE_SEED</c>, one instruction alone by
/// <c>YADOKARI_CONFORMANCE_CODE</c> (a name of Iced's <see cref="Code"/>, as failures print it).
/// </summary>
public sealed class ConformanceTests
{
    // TF and AC of RFLAGS.
    private const ulong TrapFlag = 1 << 8;
    private const ulong AlignmentCheck = 1 << 18;

    private static readonly int s_cases = int.Parse(Environment.GetEnvironmentVariable("YADOKARI_CONFORMANCE_CASES") ?? "4000");
    private static readonly ulong s_seed = ulong.Parse(Environment.GetEnvironmentVariable("YADOKARI_CONFORMANCE_SEED") ?? "1");
    private static readonly string? s_code = Environment.GetEnvironmentVariable("YADOKARI_CONFORMANCE_CODE");

    /// <summary>Each kind of instructions.</summary>
    public static TheoryData<InstructionGroup> Groups => [.. Enum.GetValues<InstructionGroup>()];

    /// <summary>Each kind in code of one width and of another.</summary>
    public static TheoryData<int, InstructionGroup> GroupsOf(int bitness, int other)
    {
        TheoryData<int, InstructionGroup> data = [];
        foreach (int bits in (int[])[bitness, other])
        {
            foreach (InstructionGroup group in Enum.GetValues<InstructionGroup>())
            {
                data.Add(bits, group);
            }
        }

        return data;
    }

    [Theory]
    [InlineData(InstructionGroup.Integer, Placement.Mixed)]
    [InlineData(InstructionGroup.Integer, Placement.Edges)]
    [InlineData(InstructionGroup.Shifts, Placement.Mixed)]
    [InlineData(InstructionGroup.Bits, Placement.Mixed)]
    [InlineData(InstructionGroup.Bits, Placement.Edges)]
    [InlineData(InstructionGroup.String, Placement.Mixed)]
    [InlineData(InstructionGroup.String, Placement.Edges)]
    [InlineData(InstructionGroup.Stack, Placement.Mixed)]
    [InlineData(InstructionGroup.Stack, Placement.Edges)]
    [InlineData(InstructionGroup.Branches, Placement.Mixed)]
    [InlineData(InstructionGroup.Branches, Placement.Edges)]
    [InlineData(InstructionGroup.Sse, Placement.Mixed)]
    [InlineData(InstructionGroup.Sse, Placement.Edges)]
    [InlineData(InstructionGroup.Avx, Placement.Mixed)]
    [InlineData(InstructionGroup.Avx, Placement.Edges)]
    [InlineData(InstructionGroup.Avx512, Placement.Mixed)]
    [InlineData(InstructionGroup.Avx512, Placement.Edges)]
    [InlineData(InstructionGroup.X87, Placement.Mixed)]
    [InlineData(InstructionGroup.X87, Placement.Edges)]
    [InlineData(InstructionGroup.Privileged, Placement.Mixed)]
    public void Single_instructions_do_what_the_processor_does(InstructionGroup group, Placement placement)
    {
        SkipWhereTheHostLacks(group);
        CompareInstructions(64, group, s_cases, _ => placement, flags: 0);
    }

    [Theory]
    [MemberData(nameof(Groups))]
    public void Single_instructions_of_32_bit_code_do_what_the_processor_does(InstructionGroup group)
    {
        SkipWhereTheHostLacks(group);
        CompareInstructions(32, group, s_cases, seed => (seed & 1) != 0 ? Placement.Mixed : Placement.Edges, flags: 0);
    }

    [Theory]
    [MemberData(nameof(GroupsOf), 16, 32)]
    public void Single_instructions_in_segments_do_what_the_processor_does(int bitness, InstructionGroup group)
    {
        SkipWhereTheHostLacks(group);
        IReadOnlyList<Segmentation> segmentations = Segmentation.Within(bitness);
        CompareInstructions(segmentations, group, s_cases / 2, seed => (seed >> 8 & 1) != 0 ? Placement.Mixed : Placement.Edges, flags: 0);
        CompareInstructions(segmentations, group, s_cases / 8, _ => Placement.Mixed, TrapFlag);
        CompareInstructions(segmentations, group, s_cases / 8, _ => Placement.Mixed, AlignmentCheck);
    }

    [Theory]
    [MemberData(nameof(Groups))]
    public void Single_steps_end_where_the_processor_ends_them(InstructionGroup group)
    {
        SkipWhereTheHostLacks(group);
        CompareInstructions(64, group, s_cases / 4, _ => Placement.Mixed, TrapFlag);
        CompareInstructions(32, group, s_cases / 4, _ => Placement.Mixed, TrapFlag);
    }

    [Theory]
    [MemberData(nameof(GroupsOf), 64, 32)]
    public void Alignment_is_checked_where_the_processor_checks_it(int bitness, InstructionGroup group)
    {
        SkipWhereTheHostLacks(group);
        CompareInstructions(bitness, group, s_cases / 2, seed => (seed & 1) != 0 ? Placement.Mixed : Placement.Edges, AlignmentCheck);
    }

    [Theory]
    [InlineData(64, SnippetShape.Straight)]
    [InlineData(64, SnippetShape.Loop)]
    [InlineData(64, SnippetShape.Calls)]
    [InlineData(64, SnippetShape.SelfModifying)]
    [InlineData(32, SnippetShape.Straight)]
    [InlineData(32, SnippetShape.Loop)]
    [InlineData(32, SnippetShape.Calls)]
    [InlineData(32, SnippetShape.SelfModifying)]
    [InlineData(64, SnippetShape.Environment)]
    [InlineData(32, SnippetShape.Environment)]
    public void Snippets_do_what_the_processor_does(int bitness, SnippetShape shape)
    {
        SnippetMaker maker = new(bitness);
        Compare(s_cases / 2, (ulong seed, MachineImage before, out Sample sample) =>
        {
            sample = maker.Make(shape, seed, before);
            return true;
        });
    }

    private static void SkipWhereTheHostLacks(InstructionGroup group)
    {
        Assert.SkipUnless(group != InstructionGroup.Avx512 || XsaveLayout.HasAvx512, "The host has no AVX-512.");
        Assert.SkipUnless(group != InstructionGroup.Avx || (XsaveLayout.Components & 4) != 0, "The host has no AVX.");
    }

    private static void CompareInstructions(int bitness, InstructionGroup group, int cases, Func<ulong, Placement> placement, ulong flags) =>
        CompareInstructions([Segmentation.Flat(bitness)], group, cases, placement, flags);

    private static void CompareInstructions(
        IReadOnlyList<Segmentation> segmentations, InstructionGroup group, int cases, Func<ulong, Placement> placement, ulong flags)
    {
        Code[] codes = InstructionCatalog.Groups(segmentations[0].Bitness)[group];
        codes = s_code is null ? codes : [.. codes.Where(c => c.ToString() == s_code)];
        SampleMaker maker = new(segmentations);
        int index = 0;
        Compare(cases, (ulong seed, MachineImage before, out Sample sample) =>
        {
            // Every instruction in turn; ever new seeds until one encodes.
            sample = null!;
            if (codes.Length == 0 || !maker.TryMake(codes[index++ / 2 % codes.Length], seed, placement(seed), before, out sample))
            {
                return false;
            }

            before.Rflags |= flags;
            sample.IgnoredMemory = null;
            return true;
        });
    }

    /// <summary>Fills an image with a program; false to be called again with the next seed.</summary>
    internal delegate bool Make(ulong seed, MachineImage before, out Sample sample);

    /// <summary>Runs programs on both and fails with the first of each kind that differ, and a count of all.</summary>
    internal static void Compare(int cases, Make make) => Compare(new TranslationEngine(), cases, make);

    /// <summary>The same under an engine set up in some way.</summary>
    internal static void Compare(TranslationEngine engine, int cases, Make make) => OwnThread.Run(() =>
    {
        Support support = engine.Probe();
        Assert.SkipUnless(support.Available, support.Reason);
        using NativeProcessor native = new();
        EngineProcessor? translated = null;
        MachineImage before = new();
        Outcome expected = new(), actual = new();
        SortedDictionary<string, (int Count, string Report)> failures = [];
        SortedDictionary<string, int> allowed = [];
        Prng seeds = new(s_seed);
        try
        {
            for (int i = 0; i < cases; i++)
            {
                if (!make(seeds.Next(), before, out Sample sample))
                {
                    continue;
                }

                if (native.Refuses(before) is { } reason)
                {
                    Assert.SkipWhen(before.Bitness != 64, reason);
                    continue;
                }

                native.Run(before, expected);
                List<string> differences;
                try
                {
                    translated ??= new EngineProcessor(engine);
                    translated.Run(before, actual);
                    differences = Comparison.Differences(sample, expected, actual);

                    // A host that changes threads while the program runs loses the x87's pointers, also of one that runs directly: that does
                    // not happen thrice.
                    for (int again = 0; again < 2 && differences.Count > 0; again++)
                    {
                        native.Run(before, expected);
                        if (engine.Direct != DirectMode.Off)
                        {
                            translated.Run(before, actual);
                        }

                        differences = Comparison.Differences(sample, expected, actual);
                    }
                }
                catch (Exception e) when (e is not OutOfMemoryException)
                {
                    differences = [e.ToString()];
                    translated?.Dispose();
                    translated = null;
                }

                if (differences.Count > 0 && ReasonOf(native, before, sample, expected, actual) is { } known)
                {
                    allowed[known] = allowed.GetValueOrDefault(known) + 1;
                }
                else if (differences.Count > 0)
                {
                    string kind = sample.Instruction.Code.ToString();
                    kind += sample.Instruction.IsInvalid ? $" {expected.Vector} {actual.Vector}" : "";
                    failures[kind] = failures.TryGetValue(kind, out (int Count, string Report) old)
                        ? (old.Count + 1, old.Report)
                        : (1, Comparison.Report(sample, before, differences));
                }
            }
        }
        finally
        {
            translated?.Dispose();
        }

        foreach ((string reason, int count) in allowed)
        {
            TestContext.Current.TestOutputHelper?.WriteLine($"{count} of {cases} programs differ as processors do: {reason}");
        }

        if (failures.Count > 0)
        {
            StringBuilder text = new();
            text.AppendLine($"{failures.Values.Sum(f => f.Count)} of {cases} programs differ (seed {s_seed}):");
            text.AppendLine(string.Join(' ', failures.Select(f => f.Key + (f.Value.Count > 1 ? "*" + f.Value.Count : ""))));
            foreach ((_, string report) in failures.Values.Take(12))
            {
                text.Append(report);
            }

            Assert.Fail(text.ToString());
        }
    });

    private static string? ReasonOf(NativeProcessor native, MachineImage before, Sample sample, Outcome expected, Outcome actual)
        => expected.Vector == 1 && actual.Vector == 1 && actual.Rip > expected.Rip && Arena.Offset(actual.Rip - 1) >= 0
            && before.At(actual.Rip - 1)[0] == 0xF1 && native.StopsAtInt1
                ? "the host tells of INT1 at its own address"
                : ProcessorDifferences.Reason(before, sample, expected, actual);
}
