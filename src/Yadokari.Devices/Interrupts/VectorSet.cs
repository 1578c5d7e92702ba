using System.Numerics;

namespace Yadokari.Devices.Interrupts;

/// <summary>One bit for each of 256 vectors, as IRR, ISR and TMR are laid out. Guarded by its owner.</summary>
internal sealed class VectorSet
{
    private readonly uint[] _words = new uint[8];

    /// <summary>The highest vector in the set, or -1.</summary>
    public int Highest
    {
        get
        {
            for (int i = _words.Length - 1; i >= 0; i--)
            {
                if (_words[i] != 0)
                {
                    return (i << 5) + BitOperations.Log2(_words[i]);
                }
            }

            return -1;
        }
    }

    /// <summary>Vectors 32 times the index and up.</summary>
    public uint Word(int index) => _words[index];

    public bool Contains(int vector) => (_words[vector >> 5] & (1u << (vector & 31))) != 0;

    public void Add(int vector) => _words[vector >> 5] |= 1u << (vector & 31);

    public void Remove(int vector) => _words[vector >> 5] &= ~(1u << (vector & 31));

    public void Clear() => Array.Clear(_words);
}
