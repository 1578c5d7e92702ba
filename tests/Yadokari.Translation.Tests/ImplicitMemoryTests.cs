using Iced.Intel;
using Yadokari.Translation.Code;

namespace Yadokari.Translation.Tests;

/// <summary>
/// What reaches memory without an operand that says so can't be redirected. Handed to the processor it would reach the host's memory at the
/// guest's address.
/// </summary>
public sealed class ImplicitMemoryTests
{
    private static readonly InstructionInfoFactory s_factory = new();

    [Fact]
    public void Nothing_that_reaches_memory_in_silence_is_copied() => Assert.Equal(
        [], Enum.GetValues<Iced.Intel.Code>().Where(code => InstructionClasses.TreatmentOf(code) == Treatment.Native && ReachesMemoryInSilence(code)));

    // The decoder's information is silent about these too.
    [Theory]
    [InlineData(Iced.Intel.Code.Clzerow)]
    [InlineData(Iced.Intel.Code.Clzerod)]
    [InlineData(Iced.Intel.Code.Clzeroq)]
    [InlineData(Iced.Intel.Code.Monitorq)]
    [InlineData(Iced.Intel.Code.Monitorxq)]
    [InlineData(Iced.Intel.Code.Umonitor_r64)]
    [InlineData(Iced.Intel.Code.Movdir64b_r64_m512)]
    public void Nor_what_is_not_even_listed(Iced.Intel.Code code) => Assert.NotEqual(Treatment.Native, InstructionClasses.TreatmentOf(code));

    [Fact]
    public void Silent_accesses_are_seen() => Assert.True(ReachesMemoryInSilence(Iced.Intel.Code.Pushq_FS));

    private static bool ReachesMemoryInSilence(Iced.Intel.Code code)
    {
        OpCodeInfo form = code.ToOpCode();
        bool named = Enumerable.Range(0, form.OpCount).Any(operand => form.GetOpKind(operand).ToString().Contains("mem", StringComparison.Ordinal));
        Instruction instruction = default;
        instruction.Code = code;
        instruction.CodeSize = form.Mode64 ? CodeSize.Code64 : CodeSize.Code32;
        return !named && s_factory.GetInfo(instruction).GetUsedMemory().GetEnumerator().MoveNext();
    }
}
