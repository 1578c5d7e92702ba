namespace Yadokari.Debugging;

/// <summary>Names of the bits of registers made of flags, by bit number; empty where a bit has none.</summary>
internal static class RegisterBits
{
    private static readonly string[] s_eflags =
    [
        "CF", "", "PF", "", "AF", "", "ZF", "SF", "TF", "IF", "DF", "OF", "", "", "NT", "", "RF", "VM", "AC", "VIF", "VIP", "ID",
    ];

    /// <summary>Names of CR0's bits (Intel SDM volume 3, 2.5).</summary>
    public static IReadOnlyList<string> Cr0 { get; } = Bits(
        (0, "PE"), (1, "MP"), (2, "EM"), (3, "TS"), (4, "ET"), (5, "NE"), (16, "WP"), (18, "AM"), (29, "NW"), (30, "CD"), (31, "PG"));

    /// <summary>Names of CR4's bits (Intel SDM volume 3, 2.5).</summary>
    public static IReadOnlyList<string> Cr4 { get; } = Bits(
        (0, "VME"), (1, "PVI"), (2, "TSD"), (3, "DE"), (4, "PSE"), (5, "PAE"), (6, "MCE"), (7, "PGE"), (8, "PCE"), (9, "OSFXSR"),
        (10, "OSXMMEXCPT"), (11, "UMIP"), (12, "LA57"), (13, "VMXE"), (14, "SMXE"), (16, "FSGSBASE"), (17, "PCIDE"), (18, "OSXSAVE"),
        (20, "SMEP"), (21, "SMAP"), (22, "PKE"), (23, "CET"), (24, "PKS"));

    /// <summary>Names of EFER's bits (AMD APM volume 2, 3.1.7).</summary>
    public static IReadOnlyList<string> Efer { get; } = Bits(
        (0, "SCE"), (8, "LME"), (10, "LMA"), (11, "NXE"), (12, "SVME"), (13, "LMSLE"), (14, "FFXSR"), (15, "TCE"));

    /// <summary>Names of RFLAGS' bits (Intel SDM volume 1, 3.4.3).</summary>
    public static IReadOnlyList<string> Rflags => s_eflags;

    /// <summary>The names of the bits that are set, separated by spaces.</summary>
    public static string Describe(ulong value, IReadOnlyList<string> bits) =>
        string.Join(' ', Enumerable.Range(0, bits.Count).Where(i => (value >> i & 1) != 0 && bits[i].Length > 0).Select(i => bits[i]));

    private static string[] Bits(params ReadOnlySpan<(int Bit, string Name)> names)
    {
        string[] bits = new string[names[^1].Bit + 1];
        Array.Fill(bits, "");
        foreach ((int bit, string name) in names)
        {
            bits[bit] = name;
        }

        return bits;
    }
}
