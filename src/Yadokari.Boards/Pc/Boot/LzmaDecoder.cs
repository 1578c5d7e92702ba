using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// The LZMA decoder of an LZMA2 stream (LZMA specification, Igor Pavlov, 2015). The output buffer is the dictionary, so each byte is written once.
/// Damaged input may throw <see cref="IndexOutOfRangeException"/> or other exceptions; the caller must treat any exception as damage.
/// </summary>
internal sealed class LzmaDecoder
{
    private const int PosStatesMax = 16;
    private const int States = 12;

    // Index of the first probability of each group.
    private const int IsMatch = 0;
    private const int IsRep = IsMatch + (States * PosStatesMax);
    private const int IsRep0 = IsRep + States;
    private const int IsRep1 = IsRep0 + States;
    private const int IsRep2 = IsRep1 + States;
    private const int IsRep0Long = IsRep2 + States;
    private const int PosSlot = IsRep0Long + (States * PosStatesMax);
    private const int PosSpecial = PosSlot + (4 * 64);
    private const int PosAlign = PosSpecial + 128;
    private const int MatchLength = PosAlign + 16;
    private const int RepLength = MatchLength + LengthGroup;
    private const int Literal = RepLength + LengthGroup;

    // Offsets within a group of length probabilities.
    private const int LengthChoice2 = 1;
    private const int LengthLow = 2;
    private const int LengthMiddle = LengthLow + (PosStatesMax * 8);
    private const int LengthHigh = LengthMiddle + (PosStatesMax * 8);
    private const int LengthGroup = LengthHigh + 256;

    private const uint Top = 1 << 24;
    private const ushort Even = 1024;

    private readonly ushort[] _probabilities = new ushort[Literal + (0x300 << 4)];
    private int _literalContextBits;
    private int _literalPositionMask;
    private int _positionMask;
    private int _state;
    private int _rep0;
    private int _rep1;
    private int _rep2;
    private int _rep3;

    /// <summary>Sets the properties: literal context, literal position and position bits in one byte.</summary>
    /// <returns>False if LZMA2 does not permit them.</returns>
    public bool SetProperties(byte properties)
    {
        int lc = properties % 9;
        int lp = properties / 9 % 5;
        int pb = properties / 45;
        _literalContextBits = lc;
        _literalPositionMask = (1 << lp) - 1;
        _positionMask = (1 << pb) - 1;
        return pb <= 4 && lc + lp <= 4;
    }

    /// <summary>Resets the state and all probabilities.</summary>
    public void Reset()
    {
        Array.Fill(_probabilities, Even);
        _state = 0;
        _rep0 = _rep1 = _rep2 = _rep3 = 0;
    }

    /// <summary>Decodes one chunk.</summary>
    /// <param name="input">The chunk's compressed bytes.</param>
    /// <param name="output">The dictionary, followed by room for the chunk.</param>
    /// <param name="start">Position of the chunk's first byte in <paramref name="output"/>.</param>
    /// <param name="end">Position after its last byte.</param>
    /// <returns>Whether the input was valid and fully consumed.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Decode(ReadOnlySpan<byte> input, Span<byte> output, int start, int end)
    {
        // Frequently used fields are copied to locals, which the compiler can keep in registers.
        Span<ushort> p = _probabilities;
        uint range = uint.MaxValue;
        uint code = BinaryPrimitives.ReadUInt32BigEndian(input[1..]);
        int at = 5;
        int to = start;
        int state = _state;
        int rep0 = _rep0;
        output = output[..end];
        while (to < end)
        {
            int posState = to & _positionMask;
            if (Bit(p, IsMatch + (state << 4) + posState, ref range, ref code, input, ref at) == 0)
            {
                output[to] = LiteralByte(p, output, to, state, rep0, ref range, ref code, input, ref at);
                to++;
                state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
                continue;
            }

            int length;
            if (Bit(p, IsRep + state, ref range, ref code, input, ref at) == 0)
            {
                _rep3 = _rep2;
                _rep2 = _rep1;
                _rep1 = rep0;
                length = Length(p, MatchLength, posState, ref range, ref code, input, ref at);
                state = state < 7 ? 7 : 10;
                int slotGroup = PosSlot + (Math.Min(length - 2, 3) << 6);
                uint slot = 1;
                while (slot < 64)
                {
                    slot = (slot << 1) | Bit(p, slotGroup + (int)slot, ref range, ref code, input, ref at);
                }

                slot -= 64;
                rep0 = slot < 4 ? (int)slot : Distance(p, (int)slot, ref range, ref code, input, ref at);
            }
            else
            {
                if (Bit(p, IsRep0 + state, ref range, ref code, input, ref at) == 0)
                {
                    if (Bit(p, IsRep0Long + (state << 4) + posState, ref range, ref code, input, ref at) == 0)
                    {
                        state = state < 7 ? 9 : 11;
                        output[to] = output[to - rep0 - 1];
                        to++;
                        continue;
                    }
                }
                else
                {
                    rep0 = OlderDistance(p, state, rep0, ref range, ref code, input, ref at);
                }

                length = Length(p, RepLength, posState, ref range, ref code, input, ref at);
                state = state < 7 ? 8 : 11;
            }

            if ((uint)rep0 >= (uint)to || length > end - to)
            {
                return false;
            }

            Copy(output, to, rep0 + 1, length);
            to += length;
        }

        if (range < Top)
        {
            code = (code << 8) | input[at++];
        }

        _state = state;
        _rep0 = rep0;
        return code == 0 && at == input.Length && input[0] == 0;
    }

    // Decodes a literal. After a match, it likely differs from the byte that follows the match's source, so that byte selects the probabilities.
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, whose locals stay in registers.
    private byte LiteralByte(Span<ushort> p, Span<byte> output, int to, int state, int rep0, ref uint range, ref uint code, ReadOnlySpan<byte> input, ref int at)
    {
        int previous = to == 0 ? 0 : output[to - 1];
        int literal = Literal + (0x300 * (((to & _literalPositionMask) << _literalContextBits) + (previous >> (8 - _literalContextBits))));
        uint symbol = 1;
        if (state >= 7)
        {
            uint match = output[to - rep0 - 1];
            do
            {
                uint matchBit = (match >> 7) & 1;
                match <<= 1;
                uint bit = Bit(p, literal + (int)(((1 + matchBit) << 8) + symbol), ref range, ref code, input, ref at);
                symbol = (symbol << 1) | bit;
                if (matchBit != bit)
                {
                    break;
                }
            }
            while (symbol < 0x100);
        }

        while (symbol < 0x100)
        {
            symbol = (symbol << 1) | Bit(p, literal + (int)symbol, ref range, ref code, input, ref at);
        }

        return (byte)symbol;
    }

    // Selects one of the three distances before the last, and moves it to the front.
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One caller, whose locals stay in registers.
    private int OlderDistance(Span<ushort> p, int state, int rep0, ref uint range, ref uint code, ReadOnlySpan<byte> input, ref int at)
    {
        int distance;
        if (Bit(p, IsRep1 + state, ref range, ref code, input, ref at) == 0)
        {
            distance = _rep1;
        }
        else
        {
            if (Bit(p, IsRep2 + state, ref range, ref code, input, ref at) == 0)
            {
                distance = _rep2;
            }
            else
            {
                distance = _rep3;
                _rep3 = _rep2;
            }

            _rep2 = _rep1;
        }

        _rep1 = rep0;
        return distance;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(Span<byte> output, int to, int distance, int length)
    {
        int from = to - distance;
        if (distance >= length)
        {
            output.Slice(from, length).CopyTo(output[to..]);
            return;
        }

        for (int i = 0; i < length; i++)
        {
            output[to + i] = output[from + i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Bit(Span<ushort> p, int index, ref uint range, ref uint code, ReadOnlySpan<byte> input, ref int at)
    {
        if (range < Top)
        {
            range <<= 8;
            code = (code << 8) | input[at++];
        }

        ref ushort slot = ref p[index];
        uint probability = slot;
        uint bound = (range >> 11) * probability;
        if (code < bound)
        {
            range = bound;
            slot = (ushort)(probability + ((2048 - probability) >> 5));
            return 0;
        }

        range -= bound;
        code -= bound;
        slot = (ushort)(probability - (probability >> 5));
        return 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int Length(Span<ushort> p, int group, int posState, ref uint range, ref uint code, ReadOnlySpan<byte> input, ref int at)
    {
        uint r = range;
        uint c = code;
        int a = at;
        int tree;
        uint size;
        int least;
        if (Bit(p, group, ref r, ref c, input, ref a) == 0)
        {
            (tree, size, least) = (group + LengthLow + (posState << 3), 8, 2);
        }
        else if (Bit(p, group + LengthChoice2, ref r, ref c, input, ref a) == 0)
        {
            (tree, size, least) = (group + LengthMiddle + (posState << 3), 8, 10);
        }
        else
        {
            (tree, size, least) = (group + LengthHigh, 256, 18);
        }

        uint symbol = 1;
        while (symbol < size)
        {
            symbol = (symbol << 1) | Bit(p, tree + (int)symbol, ref r, ref c, input, ref a);
        }

        range = r;
        code = c;
        at = a;
        return (int)(symbol - size) + least;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int Distance(Span<ushort> p, int slot, ref uint range, ref uint code, ReadOnlySpan<byte> input, ref int at)
    {
        uint r = range;
        uint c = code;
        int a = at;
        int bits = (slot >> 1) - 1;
        uint distance = (2u | ((uint)slot & 1)) << bits;
        int tree = PosSpecial + (int)distance - slot;
        if (slot >= 14)
        {
            // The middle bits are encoded with a fixed probability of one half.
            uint direct = 0;
            for (int i = bits - 4; i > 0; i--)
            {
                if (r < Top)
                {
                    r <<= 8;
                    c = (c << 8) | input[a++];
                }

                r >>= 1;
                c -= r;
                uint borrow = 0 - (c >> 31);
                c += r & borrow;
                direct = (direct << 1) + borrow + 1;
            }

            distance += direct << 4;
            bits = 4;
            tree = PosAlign;
        }

        uint symbol = 1;
        for (int i = 0; i < bits; i++)
        {
            uint bit = Bit(p, tree + (int)symbol, ref r, ref c, input, ref a);
            symbol = (symbol << 1) | bit;
            distance += bit << i;
        }

        range = r;
        code = c;
        at = a;
        return (int)distance;
    }
}
