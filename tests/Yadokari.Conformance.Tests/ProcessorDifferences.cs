using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Yadokari.Conformance.Tests.Samples;
using Yadokari.X86.Cpuid;
using Decoder = Iced.Intel.Decoder;

namespace Yadokari.Conformance.Tests;

/// <summary>
/// In what processors differ from one another, where the engine does as AMD's do: on a host of Intel's, a program that differs and has such an
/// instruction is counted and named, and does not fail the test. Everything else must agree on every host.
/// </summary>
internal static class ProcessorDifferences
{
    private static readonly (string Reason, Func<Instruction, bool> Covers)[] s_intel =
    [
        ("a segment register pushed writes two bytes of its slot", i => i.Mnemonic == Mnemonic.Push && i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister()),
        ("a repeated string instruction that faults or steps: the flags so far, upper halves of counters, the address told", i => i.IsStringInstruction),
        ("a masked store that faults: the address told", i => i.Op0Kind != OpKind.Register && (i.HasOpMask || IsMaskedMove(i.Mnemonic))),
        ("a store of an MMX register that faults: x87's stack top by then", i => Enumerable.Range(0, i.OpCount).Any(n => i.GetOpKind(n) == OpKind.Register && i.GetOpRegister(n).IsMM())),
        ("an x87 store into two pages: what comes first, and what is written before", i => i.Op0Kind == OpKind.Memory && i.Mnemonic.ToString()[0] == 'F'),
        ("a conversion whose store faults: the exceptions told", i => i.Mnemonic == Mnemonic.Vcvtps2ph),
        ("bounds of which a part can't be read", i => i.Mnemonic == Mnemonic.Bound),
        ("a call by memory to where there is no code: whether the return address is written", i => i.IsCallNearIndirect),
    ];

    private static readonly Lazy<InstructionSet> s_shown = new(static () => new InstructionSet(CpuidModel.FromHost(new CpuidConfiguration(1, 1_000_000_000, 1_000_000_000))));

    /// <summary>Whether the host's processor is Intel's.</summary>
    public static bool IsIntel { get; } = X86Base.CpuId(0, 0).Ebx == 0x756E6547;

    /// <summary>How the host's processor decodes.</summary>
    public static DecoderOptions Decoding { get; } = IsIntel ? DecoderOptions.None : DecoderOptions.AMD;

    /// <summary>Why a program that differs may; null if it may not.</summary>
    public static string? Reason(MachineImage before, Sample sample, Outcome expected, Outcome actual)
    {
        if (IsIntel && sample.HasUnknownLength && expected.Rip == actual.Rip && expected.Vector is 6 or 13 or 14 && actual.Vector is 6 or 13 or 14)
        {
            return "no instruction, near a page's end or of 15 bytes: whether all of it is fetched, or counted, first";
        }

        if (IsIntel && !before.Segments.IsFlat && (expected.Vector != 3 || actual.Vector != 3))
        {
            return "faults in segments with limits, whose order has been compared with AMD's processors only";
        }

        if (!IsIntel && sample.Instruction.IsInvalid && expected.Vector != 6 && actual.Vector == 6 && IsLockedVerw(before))
        {
            return "VERW of memory with LOCK: AMD's manual has it refused (APM 3 1.2.5), Zen 4 runs it";
        }

        Decoder decoder = Decoder.Create(before.Bitness, before.Code[..sample.CodeLength].ToArray(), before.Rip, Decoding);
        while (decoder.IP < before.Rip + (ulong)sample.CodeLength)
        {
            Instruction instruction = decoder.Decode();
            if (!s_shown.Value.Has(instruction))
            {
                return "the processor has an instruction that the host's CPUID hides";
            }

            if (IsIntel && s_intel.FirstOrDefault(d => d.Covers(instruction)).Reason is { } reason)
            {
                return reason;
            }
        }

        return IsIntel && before.Bitness == 32 && expected.Vector == 14 && actual.Vector == 12 ? "a stack access across 4 GiB: a page fault before a stack fault" : null;
    }

    private static bool IsLockedVerw(MachineImage before)
    {
        byte[] bytes = before.Code[..15].ToArray();
        int locked = Array.IndexOf(bytes, (byte)0xF0);
        if (locked < 0)
        {
            return false;
        }

        // The same without LOCK: another prefix of no meaning there.
        bytes[locked] = 0x2E;
        Instruction instruction = Decoder.Create(before.Bitness, bytes, before.Rip, Decoding).Decode();
        return instruction.Mnemonic == Mnemonic.Verw && instruction.Op0Kind == OpKind.Memory;
    }

    private static bool IsMaskedMove(Mnemonic mnemonic) => mnemonic is Mnemonic.Maskmovdqu or Mnemonic.Maskmovq or Mnemonic.Vmaskmovdqu
        or Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq;
}
