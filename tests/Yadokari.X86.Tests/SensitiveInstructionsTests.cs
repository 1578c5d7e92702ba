using Iced.Intel;
using Xunit;
using Yadokari.X86.Sensitive;

namespace Yadokari.X86.Tests;

public sealed class SensitiveInstructionsTests
{
    [Fact]
    public void Every_code_has_a_class_and_its_entry_agrees()
    {
        foreach (Code code in Enum.GetValues<Code>())
        {
            SensitivityClass sensitivity = SensitiveInstructions.Classify(code);
            Assert.Equal(sensitivity, SensitiveInstructions.Find(code)?.Class ?? SensitivityClass.Innocuous);
        }
    }

    [Fact]
    public void What_the_decoder_knows_as_privileged_is_privileged_here()
    {
        Code[] missing = [.. Enum.GetValues<Code>().Where(code =>
            code.ToOpCode() is { } opCode && (opCode.IsPrivileged || opCode.MustBeCpl0 || opCode.IsInputOutput)
            && SensitiveInstructions.Classify(code) != SensitivityClass.Privileged)];
        Assert.Empty(missing);
    }

    [Fact]
    public void What_saves_the_processors_state_or_must_be_virtualized_is_sensitive()
    {
        Code[] missing = [.. Enum.GetValues<Code>().Where(code =>
            code.ToOpCode() is { IsInstruction: true } opCode
            && (opCode.MayRequireCpl0 || opCode.TdxNonRootGenVe || opCode.IntelVmExit || opCode.AmdVmExit)
            && SensitiveInstructions.Classify(code) == SensitivityClass.Innocuous)];
        Assert.Empty(missing);
    }

    [Fact]
    public void Every_entry_covers_some_code()
    {
        HashSet<SensitiveInstruction> found = [.. Enum.GetValues<Code>().Select(SensitiveInstructions.Find).OfType<SensitiveInstruction>()];
        Assert.Empty(SensitiveInstructions.All.Except(found));
        Assert.All(SensitiveInstructions.All, e => Assert.True(e.Reason.Length > 0 && e.Source.Length > 0 && e.Class != SensitivityClass.Innocuous));
    }

    [Theory]
    [InlineData("FA", SensitivityClass.Privileged)] // cli
    [InlineData("F4", SensitivityClass.Privileged)] // hlt
    [InlineData("EC", SensitivityClass.Privileged)] // in al,dx
    [InlineData("0F22D8", SensitivityClass.Privileged)] // mov cr3,rax
    [InlineData("0F23F8", SensitivityClass.Privileged)] // mov dr7,rax
    [InlineData("0F30", SensitivityClass.Privileged)] // wrmsr
    [InlineData("480F07", SensitivityClass.Privileged)] // sysretq
    [InlineData("0F01F8", SensitivityClass.Privileged)] // swapgs
    [InlineData("0F0138", SensitivityClass.Privileged)] // invlpg [rax]
    [InlineData("0F0100", SensitivityClass.UnprivilegedSensitive)] // sgdt [rax]
    [InlineData("0F01E0", SensitivityClass.UnprivilegedSensitive)] // smsw eax
    [InlineData("0F00C8", SensitivityClass.UnprivilegedSensitive)] // str eax
    [InlineData("0F02C1", SensitivityClass.UnprivilegedSensitive)] // lar
    [InlineData("9C", SensitivityClass.UnprivilegedSensitive)] // pushfq
    [InlineData("9D", SensitivityClass.UnprivilegedSensitive)] // popfq
    [InlineData("8ED8", SensitivityClass.UnprivilegedSensitive)] // mov ds,eax
    [InlineData("8CD8", SensitivityClass.UnprivilegedSensitive)] // mov eax,ds
    [InlineData("0FA0", SensitivityClass.UnprivilegedSensitive)] // push fs
    [InlineData("FF18", SensitivityClass.UnprivilegedSensitive)] // call far [rax]
    [InlineData("CB", SensitivityClass.UnprivilegedSensitive)] // retf
    [InlineData("48CF", SensitivityClass.UnprivilegedSensitive)] // iretq
    [InlineData("CD80", SensitivityClass.UnprivilegedSensitive)] // int 80h
    [InlineData("CC", SensitivityClass.UnprivilegedSensitive)] // int3
    [InlineData("0FA2", SensitivityClass.UnprivilegedSensitive)] // cpuid
    [InlineData("0F05", SensitivityClass.UnprivilegedSensitive)] // syscall
    [InlineData("0F0B", SensitivityClass.UnprivilegedSensitive)] // ud2
    [InlineData("06", SensitivityClass.UnprivilegedSensitive)] // not in 64-bit mode
    [InlineData("F3480FAEC0", SensitivityClass.UnprivilegedSensitive)] // rdfsbase rax
    [InlineData("0FAE00", SensitivityClass.UnprivilegedSensitive)] // fxsave [rax]
    [InlineData("F390", SensitivityClass.Innocuous)] // pause
    [InlineData("F30F1EFA", SensitivityClass.Innocuous)] // endbr64
    [InlineData("0FC7F0", SensitivityClass.Innocuous)] // rdrand eax
    [InlineData("C3", SensitivityClass.Innocuous)] // ret
    [InlineData("FF10", SensitivityClass.Innocuous)] // call [rax]
    [InlineData("50", SensitivityClass.Innocuous)] // push rax
    [InlineData("4889D8", SensitivityClass.Innocuous)] // mov rax,rbx
    [InlineData("F00FB10F", SensitivityClass.Innocuous)] // lock cmpxchg
    [InlineData("9E", SensitivityClass.Innocuous)] // sahf
    [InlineData("62F17C4858C1", SensitivityClass.Innocuous)] // vaddps zmm
    public void Instructions_of_the_manual_have_their_class(string hex, SensitivityClass expected)
    {
        Decoder decoder = Decoder.Create(64, Convert.FromHexString(hex));
        decoder.Decode(out Instruction instruction);
        Assert.Equal(expected, SensitiveInstructions.Classify(instruction));
    }
}
