namespace Yadokari.Translation;

/// <summary>A Bloom filter of pages with one hash function: false positives are possible, false negatives are not.</summary>
internal sealed class PageFilter
{
    private const int Bits = 1 << 15;
    private readonly ulong[] _bits = new ulong[Bits / 64];

    /// <summary>Adds the page of an address.</summary>
    public void Add(ulong address) => _bits[Word(address)] |= Bit(address);

    /// <summary>Whether the page of an address may have been added.</summary>
    public bool MayContain(ulong address) => (_bits[Word(address)] & Bit(address)) != 0;

    /// <summary>Removes all pages.</summary>
    public void Clear() => Array.Clear(_bits);

    private static int Word(ulong address) => (int)(address >> 18) & ((Bits / 64) - 1);

    private static ulong Bit(ulong address) => 1ul << (int)((address >> 12) & 63);
}
