namespace Yadokari.Translation;

/// <summary>A set of pages that may say yes for a page that was not added, never no for one that was.</summary>
internal sealed class PageFilter
{
    private const int Bits = 1 << 15;
    private readonly ulong[] _bits = new ulong[Bits / 64];

    /// <summary>Adds the page of an address.</summary>
    public void Add(ulong address) => _bits[Word(address)] |= Bit(address);

    /// <summary>Whether the page of an address may be there.</summary>
    public bool MayContain(ulong address) => (_bits[Word(address)] & Bit(address)) != 0;

    /// <summary>Removes all pages.</summary>
    public void Clear() => Array.Clear(_bits);

    private static int Word(ulong address) => (int)(address >> 18) & ((Bits / 64) - 1);

    private static ulong Bit(ulong address) => 1ul << (int)((address >> 12) & 63);
}
