using Iced.Intel;
using Yadokari.Conformance.Tests.Native;
using Yadokari.Conformance.Tests.Samples;

namespace Yadokari.Conformance.Tests;

/// <summary>The samples themselves: that they reach what they are meant to reach, and that the processor answers the same twice.</summary>
public sealed class SampleTests
{
    [Theory]
    [InlineData(64)]
    [InlineData(32)]
    public void Every_instruction_has_instances_that_encode_and_most_that_the_host_has_finish(int bitness)
    {
        using NativeProcessor processor = new();
        SampleMaker maker = new(bitness);
        MachineImage before = new();
        Outcome first = new(), second = new();
        List<string> unencodable = [], neverFinished = [], unstable = [];
        int undefined = 0, total = 0;
        foreach ((InstructionGroup group, Code[] codes) in InstructionCatalog.Groups(bitness))
        {
            foreach (Code code in codes)
            {
                total++;
                int made = 0, finished = 0, opcodeFaults = 0;
                for (ulong seed = 0; seed < 60 && made < 10 && finished < 2 && !(made == opcodeFaults && made >= 3); seed++)
                {
                    if (!maker.TryMake(code, ((ulong)code << 16) + seed, Placement.Mixed, before, out Sample sample))
                    {
                        continue;
                    }

                    if (processor.Refuses(before) is { } reason)
                    {
                        Assert.SkipWhen(bitness == 32, reason);
                        continue;
                    }

                    made++;
                    processor.Run(before, first);
                    processor.Run(before, second);
                    List<string> differences = Comparison.Differences(sample, first, second);
                    if (differences.Count > 0)
                    {
                        unstable.Add(Comparison.Report(sample, before, differences));
                    }

                    finished += first.Vector == 3 ? 1 : 0;
                    opcodeFaults += first.Vector == 6 ? 1 : 0;
                }

                if (made == 0)
                {
                    unencodable.Add(code.ToString());
                }
                else if (opcodeFaults == made)
                {
                    undefined++;
                }
                else if (finished == 0 && group != InstructionGroup.Privileged && !LeadsBelow64K(code))
                {
                    neverFinished.Add(code.ToString());
                }
            }
        }

        TestContext.Current.SendDiagnosticMessage($"{total} instructions, {undefined} of them not on this host.");
        Assert.True(unencodable.Count == 0, "no instance found of: " + string.Join(' ', unencodable));
        Assert.True(unstable.Count == 0, $"{unstable.Count} answers differ:\n" + string.Join('\n', unstable.Take(10)));
        Assert.True(neverFinished.Count == 0, "never finish: " + string.Join(' ', neverFinished));
        Assert.InRange(undefined, 0, total / 2);
    }

    // Transfers with 16-bit operands, and CLZERO by AX, which lead to where nothing is: they must fault at the right place.
    private static bool LeadsBelow64K(Code code)
        => code == Code.Clzerow
            || (code.ToOpCode().OperandSize == 16 && code.FlowControl() is not (FlowControl.Next or FlowControl.ConditionalBranch));

    [Theory]
    [InlineData(64)]
    [InlineData(32)]
    public void Everything_left_out_says_why(int bitness)
    {
        ILookup<string, Code> reasons = Enum.GetValues<Code>().Where(c => InstructionCatalog.WhyNot(c, bitness) is not null).ToLookup(c => InstructionCatalog.WhyNot(c, bitness)!);
        foreach (IGrouping<string, Code> reason in reasons)
        {
            TestContext.Current.SendDiagnosticMessage($"{reason.Key}: {string.Join(' ', reason.Take(12))}{(reason.Count() > 12 ? $" and {reason.Count() - 12} more" : "")}");
        }

        Assert.Equal(Enum.GetValues<InstructionGroup>(), InstructionCatalog.Groups(bitness).Keys.Order());
        Assert.DoesNotContain(Code.Syscall, InstructionCatalog.Groups(bitness).Values.SelectMany(c => c));
        Assert.DoesNotContain(Code.Int_imm8, InstructionCatalog.Groups(bitness).Values.SelectMany(c => c));
    }
}
