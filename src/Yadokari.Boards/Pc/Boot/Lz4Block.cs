using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The LZ4 block format (lz4_Block_format.md of the LZ4 project), which distributions pack kernels in because it unpacks fastest.</summary>
internal static class Lz4Block
{
    private const int MinMatch = 4;
    private const int Wide = 16;

    /// <summary>Unpacks one block.</summary>
    /// <returns>Bytes written to the start of <paramref name="target"/>, or -1 if the block is damaged or does not fit.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Decode(ReadOnlySpan<byte> source, Span<byte> target)
    {
        int from = 0;
        int to = 0;
        while (from < source.Length)
        {
            int token = source[from++];
            int literals = token >> 4;
            if (literals == 15 && !ReadLength(source, ref from, ref literals))
            {
                return -1;
            }

            if (literals <= Wide && source.Length - from >= Wide && target.Length - to >= Wide)
            {
                // Sixteen bytes at once, whatever the count: what is too much is overwritten by what follows.
                Vector128.Create(source.Slice(from, Wide)).CopyTo(target.Slice(to, Wide));
            }
            else
            {
                if (literals > source.Length - from || literals > target.Length - to)
                {
                    return -1;
                }

                source.Slice(from, literals).CopyTo(target[to..]);
            }

            from += literals;
            to += literals;
            if (from == source.Length)
            {
                return to;
            }

            if (source.Length - from < 2)
            {
                return -1;
            }

            int distance = BinaryPrimitives.ReadUInt16LittleEndian(source[from..]);
            from += 2;
            int length = token & 15;
            if (length == 15 && !ReadLength(source, ref from, ref length))
            {
                return -1;
            }

            length += MinMatch;
            if (distance == 0 || distance > to || length > target.Length - to)
            {
                return -1;
            }

            CopyMatch(target, to, distance, length);
            to += length;
        }

        return -1;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyMatch(Span<byte> target, int to, int distance, int length)
    {
        int from = to - distance;
        if (distance >= Wide && length <= 2 * Wide && target.Length - to >= 2 * Wide)
        {
            Vector128.Create(target.Slice(from, Wide)).CopyTo(target.Slice(to, Wide));
            if (length > Wide)
            {
                Vector128.Create(target.Slice(from + Wide, Wide)).CopyTo(target.Slice(to + Wide, Wide));
            }

            return;
        }

        // A match that overlaps itself repeats: each round doubles what there is to copy from.
        while (length > 0)
        {
            int piece = Math.Min(length, to - from);
            target.Slice(from, piece).CopyTo(target[to..]);
            to += piece;
            length -= piece;
        }
    }

    private static bool ReadLength(ReadOnlySpan<byte> source, ref int from, ref int length)
    {
        while (from < source.Length)
        {
            int more = source[from++];
            length += more;
            if (more != 255)
            {
                return length >= 0;
            }
        }

        return false;
    }
}
