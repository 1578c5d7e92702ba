using System.Collections.Frozen;
using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Yadokari.X86.Sensitive;

/// <summary>
/// The table of sensitive instructions, which the translator uses and <c>yado audit</c> prints. An instruction that is not innocuous never
/// reaches the processor; it is emulated. The entries are in <see cref="SensitiveTable"/>; here they are indexed by every <see cref="Code"/> of
/// the decoder, so that a lookup is one array access. Immutable, any thread.
/// </summary>
/// <remarks>
/// x87 and SIMD instructions obey CR0.EM, CR0.TS, CR4.OSFXSR and XCR0 and are innocuous all the same: these bits are part of the mode a
/// block is translated for. So is CPL for what follows from it alone. Memory operands make nothing sensitive: the translator redirects
/// every one.
/// </remarks>
public static class SensitiveInstructions
{
    private static readonly SensitiveInstruction?[] s_byCode = BuildByCode();
    private static readonly byte[] s_classes = Array.ConvertAll(s_byCode, e => (byte)(e?.Class ?? SensitivityClass.Innocuous));

    /// <summary>Every entry, privileged ones first, then by name.</summary>
    public static IReadOnlyList<SensitiveInstruction> All { get; } =
        [.. SensitiveTable.Entries.Select(e => e.Instruction).OrderByDescending(e => e.Class).ThenBy(e => e.Mnemonic.ToString())];

    /// <summary>The class of an instruction. An invalid instruction is sensitive: its #UD belongs to the guest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SensitivityClass Classify(in Instruction instruction) => Classify(instruction.Code);

    /// <summary>The class of an instruction by its code.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SensitivityClass Classify(Code code) => (SensitivityClass)s_classes[(int)code];

    /// <summary>The entry of a sensitive instruction, null for an innocuous one.</summary>
    public static SensitiveInstruction? Find(Code code) => s_byCode[(int)code];

    private static SensitiveInstruction?[] BuildByCode()
    {
        FrozenDictionary<Mnemonic, SensitiveTable.Entry[]> byMnemonic =
            SensitiveTable.Entries.GroupBy(e => e.Instruction.Mnemonic).ToFrozenDictionary(g => g.Key, g => g.ToArray());
        var table = new SensitiveInstruction?[IcedConstants.CodeEnumCount];
        for (int i = 0; i < table.Length; i++)
        {
            var code = (Code)i;
            if (byMnemonic.TryGetValue(code.Mnemonic(), out SensitiveTable.Entry[]? entries))
            {
                table[i] = Array.Find(entries, e => e.Covers is null || e.Covers(code)).Instruction;
            }
        }

        return table;
    }

    private static class IcedConstants
    {
        public static int CodeEnumCount { get; } = (int)Enum.GetValues<Code>().Max() + 1;
    }
}
