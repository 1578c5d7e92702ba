using Iced.Intel;
using Yadokari.Translation.Code;

namespace Yadokari.Translation.Tests;

/// <summary>
/// What reaches memory without an operand that says so can't be redirected. Handed to the processor it would reach the host's memory at the
/// guest's address.
/// </summary>
public sealed class ImplicitMemoryTests
{
    [Fact]
    public void NothingThatReachesMemoryInSilenceIsCopied()
    {
        var factory = new InstructionInfoFactory();
        var escaping = new List<Iced.Intel.Code>();
        foreach (Iced.Intel.Code code in Enum.GetValues<Iced.Intel.Code>())
        {
            if (InstructionClasses.TreatmentOf(code) != Treatment.Native)
            {
                continue;
            }

            Instruction instruction = default;
            instruction.Code = code;
            OpCodeInfo form = code.ToOpCode();
            bool redirected = Enumerable.Range(0, form.OpCount).Any(operand => form.GetOpKind(operand).ToString().Contains("mem", StringComparison.Ordinal)
                || form.GetOpKind(operand).ToString().Contains("_or_", StringComparison.Ordinal));
            if (!redirected && factory.GetInfo(instruction).GetUsedMemory().GetEnumerator().MoveNext())
            {
                escaping.Add(code);
            }
        }

        Assert.Equal([], escaping);
    }
}
