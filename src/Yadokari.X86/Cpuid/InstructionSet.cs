using System.Runtime.CompilerServices;
using Iced.Intel;
using Yadokari.X86.Sensitive;

namespace Yadokari.X86.Cpuid;

/// <summary>
/// The instructions that a guest has: those of the features that its CPUID shows. All others must raise #UD in the guest and never reach the
/// host's processor, which may not have them either. Sensitive instructions count as present: their emulation decides. Immutable, any thread.
/// </summary>
public sealed class InstructionSet
{
    private readonly bool[] _byCode;

    /// <summary>The decoder's options for the vendor that CPUID shows: AMD and Intel differ in some near and far branches of 64-bit code.</summary>
    public DecoderOptions Decoding { get; }

    /// <summary>Computes the instruction set; done once for a machine.</summary>
    public InstructionSet(CpuidModel model)
    {
        Decoding = model.Vendor == CpuVendor.Amd ? DecoderOptions.AMD : DecoderOptions.None;
        Code[] codes = Enum.GetValues<Code>();
        _byCode = new bool[(int)codes.Max() + 1];
        bool[] features = new bool[(int)Enum.GetValues<Iced.Intel.CpuidFeature>().Max() + 1];
        foreach (Iced.Intel.CpuidFeature feature in Enum.GetValues<Iced.Intel.CpuidFeature>())
        {
            features[(int)feature] = IsBaseline(feature) || model.Has(NameOf(feature));
        }

        foreach (Code code in codes)
        {
            _byCode[(int)code] = SensitiveInstructions.Classify(code) != SensitivityClass.Innocuous
                || Array.TrueForAll(code.CpuidFeatures(), f => features[(int)f]);
        }
    }

    /// <summary>Whether the guest has this instruction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Has(in Instruction instruction) => _byCode[(int)instruction.Code];

    /// <summary>Whether the guest has the instruction of this code.</summary>
    public bool Has(Code code) => _byCode[(int)code];

    /// <summary>The name in <see cref="CpuidFeatures"/> of a decoder's feature.</summary>
    public static string NameOf(Iced.Intel.CpuidFeature feature) => feature switch
    {
        Iced.Intel.CpuidFeature.AES => "AESNI",
        Iced.Intel.CpuidFeature.SSE4_1 => "SSE4.1",
        Iced.Intel.CpuidFeature.SSE4_2 => "SSE4.2",
        Iced.Intel.CpuidFeature.CMPXCHG16B => "CX16",
        Iced.Intel.CpuidFeature.D3NOW => "3DNOW",
        Iced.Intel.CpuidFeature.D3NOWEXT => "3DNOWEXT",
        _ => feature.ToString(),
    };

    /// <summary>Features of every x86-64 processor, and hints that are no-operations on processors without them.</summary>
    private static bool IsBaseline(Iced.Intel.CpuidFeature feature) => feature
        is Iced.Intel.CpuidFeature.INTEL8086 or Iced.Intel.CpuidFeature.INTEL186 or Iced.Intel.CpuidFeature.INTEL286
        or Iced.Intel.CpuidFeature.INTEL386 or Iced.Intel.CpuidFeature.INTEL486 or Iced.Intel.CpuidFeature.X64
        or Iced.Intel.CpuidFeature.FPU or Iced.Intel.CpuidFeature.FPU287 or Iced.Intel.CpuidFeature.FPU387
        or Iced.Intel.CpuidFeature.MULTIBYTENOP or Iced.Intel.CpuidFeature.PAUSE or Iced.Intel.CpuidFeature.CET_IBT
        or Iced.Intel.CpuidFeature.PREFETCHW or Iced.Intel.CpuidFeature.PREFETCHWT1 or Iced.Intel.CpuidFeature.PREFETCHITI
        or Iced.Intel.CpuidFeature.CLDEMOTE;
}
