using Iced.Intel;
using Yadokari.Translation;
using Yadokari.X86.Cpuid;

namespace Yadokari.Conformance.Tests;

/// <summary>What CPUID shows against what the engine carries out.</summary>
public sealed class FeatureTests
{
    // Bits that stand for no instruction of their own, or for ones that every processor of 64 bits has.
    private static readonly HashSet<string> s_withoutInstructions =
    [
        "PCID", "X2APIC", "TSC_DEADLINE", "HYPERVISOR", "VME", "DE", "PSE", "PAE", "MCE", "APIC", "MTRR", "PGE", "MCA", "PAT", "PSE36", "ARAT",
        "FDP_EXCPTN_ONLY", "ERMS", "FPU_CSDS_DEPRECATED", "TSC_ADJUST", "SMEP", "UMIP", "FSRM", "SPEC_CTRL", "ARCH_CAPABILITIES", "FZRM", "FSRS",
        "FSRC", "XGETBV1", "LAHF64", "MISALIGNSSE", "3DNOWPREFETCH", "TOPOEXT", "MMXEXT", "NX", "PAGE1GB", "LM", "INVARIANT_TSC", "XSAVEERPTR",
        "SSB_NO", "LMSLE_UNSUPPORTED", "BTC_NO", "NO_NESTED_DATA_BP", "LFENCE_RDTSC", "AMD_FSRS", "AMD_FSRC", "NULL_SEL_CLR_BASE", "AUTOIBRS",
        "SRSO_NO", "TSA_SQ_NO", "TSA_L1_NO", "PREFETCHI",
    ];

    [Fact]
    public void Every_instruction_of_a_feature_that_is_shown_is_carried_out()
    {
        CpuidModel model = CpuidModel.FromHost(new CpuidConfiguration(1, 1_000_000_000, 1_000_000_000));
        InstructionSet set = new(model);
        List<string> refused = [];
        foreach (Code code in Enum.GetValues<Code>())
        {
            OpCodeInfo info = code.ToOpCode();
            bool shown = code.CpuidFeatures().Any(f => model.Has(InstructionSet.NameOf(f))) && set.Has(code);
            if (shown && info.IsInstruction && InstructionTreatments.Of(code) == InstructionTreatment.Refused)
            {
                refused.Add(code.ToString());
            }
        }

        Assert.True(refused.Count == 0, "shown and refused: " + string.Join(' ', refused));
    }

    [Fact]
    public void Every_feature_has_instructions_that_go_by_it_or_is_known_to_have_none()
    {
        HashSet<string> known = [.. Enum.GetValues<Iced.Intel.CpuidFeature>().Select(InstructionSet.NameOf)];
        string[] unknown = [.. CpuidFeatures.All.Select(f => f.Name).Where(n => !known.Contains(n) && !s_withoutInstructions.Contains(n))];
        Assert.True(unknown.Length == 0, "no instruction goes by: " + string.Join(' ', unknown));
    }
}
