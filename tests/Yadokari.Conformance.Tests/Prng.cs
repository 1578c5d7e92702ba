namespace Yadokari.Conformance.Tests;

/// <summary>SplitMix64: quick, and the same sequence for a seed for ever, so that a failure's seed makes it again.</summary>
public sealed class Prng(ulong seed)
{
    private ulong _state = seed;

    /// <summary>64 random bits.</summary>
    public ulong Next()
    {
        ulong z = _state += 0x9E37_79B9_7F4A_7C15;
        z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9;
        z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB;
        return z ^ (z >> 31);
    }

    /// <summary>A number from 0 to <paramref name="bound"/> - 1.</summary>
    public int Below(int bound) => (int)(Next() >> 33) % bound;

    /// <summary>True once in <paramref name="n"/> times.</summary>
    public bool OneIn(int n) => Below(n) == 0;

    /// <summary>One of the given values.</summary>
    public T Pick<T>(params ReadOnlySpan<T> values) => values[Below(values.Length)];

    /// <summary>Random bits, but often a value at which arithmetic has an edge.</summary>
    public ulong Interesting() => Below(8) switch
    {
        0 => (ulong)(long)(Below(33) - 16),
        1 => 1UL << Below(64),
        2 => (1UL << Below(64)) - 1,
        3 => ~(1UL << Below(64)),
        4 => Pick(0x7FUL, 0x80UL, 0x7FFFUL, 0x8000UL, 0x7FFF_FFFFUL, 0x8000_0000UL, 0x7FFF_FFFF_FFFF_FFFFUL, 0x8000_0000_0000_0000UL),
        _ => Next(),
    };
}
