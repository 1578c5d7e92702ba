using Iced.Intel;
using Yadokari.Conformance.Tests.Native;
using Yadokari.Conformance.Tests.Samples;
using Yadokari.Core.Engines;
using Yadokari.Translation;
using Yadokari.Translation.Direct;

namespace Yadokari.Conformance.Tests;

/// <summary>
/// Direct execution against the processor: the same programs as <see cref="ConformanceTests"/>, run as they are in a sandbox, so that what
/// is on trial is the way in and out: registers, memory, faults, and which instructions must not run there.
/// </summary>
public sealed class DirectTests
{
    private static readonly int s_cases = int.Parse(Environment.GetEnvironmentVariable("YADOKARI_CONFORMANCE_CASES") ?? "2000");

    [Theory]
    [InlineData(InstructionGroup.Integer)]
    [InlineData(InstructionGroup.String)]
    [InlineData(InstructionGroup.Stack)]
    [InlineData(InstructionGroup.Branches)]
    [InlineData(InstructionGroup.Sse)]
    [InlineData(InstructionGroup.Avx)]
    [InlineData(InstructionGroup.Avx512)]
    [InlineData(InstructionGroup.X87)]
    [InlineData(InstructionGroup.Privileged)]
    public void Single_instructions_do_what_the_processor_does(InstructionGroup group)
    {
        Assert.SkipUnless(group != InstructionGroup.Avx512 || XsaveLayout.HasAvx512, "The host has no AVX-512.");
        Assert.SkipUnless(group != InstructionGroup.Avx || (XsaveLayout.Components & 4) != 0, "The host has no AVX.");
        Code[] codes = InstructionCatalog.Groups(64)[group];
        SampleMaker maker = new();
        int index = 0;
        ConformanceTests.Compare(Engine(), s_cases, (ulong seed, MachineImage before, out Sample sample) =>
        {
            sample = null!;
            Placement placement = (seed & 1) != 0 ? Placement.Mixed : Placement.Edges;
            return codes.Length > 0 && maker.TryMake(codes[index++ / 2 % codes.Length], seed, placement, before, out sample);
        });
    }

    [Theory]
    [InlineData(SnippetShape.Straight)]
    [InlineData(SnippetShape.Loop)]
    [InlineData(SnippetShape.Calls)]
    [InlineData(SnippetShape.SelfModifying)]
    public void Snippets_do_what_the_processor_does(SnippetShape shape)
    {
        SnippetMaker maker = new();
        ConformanceTests.Compare(Engine(), s_cases / 2, (ulong seed, MachineImage before, out Sample sample) =>
        {
            sample = maker.Make(shape, seed, before);
            return true;
        });
    }

    private static TranslationEngine Engine()
    {
        Support support = TranslationEngine.ProbeDirect();
        Assert.SkipUnless(support.Available, support.Reason);
        return new TranslationEngine { Direct = DirectMode.Always };
    }
}
