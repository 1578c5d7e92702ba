using System.Buffers.Binary;

namespace Yadokari.Machines.Tests;

/// <summary>Packs into LZ4's legacy frame, simply: the nearest earlier occurrence of four bytes is the match.</summary>
internal static class Lz4Writer
{
    private const int BlockSize = 8 << 20;

    public static byte[] Pack(byte[] data)
    {
        List<byte> frame = [0x02, 0x21, 0x4C, 0x18];
        for (int start = 0; start < data.Length; start += BlockSize)
        {
            byte[] block = Block(data.AsSpan(start, Math.Min(BlockSize, data.Length - start)));
            byte[] size = new byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(size, block.Length);
            frame.AddRange(size);
            frame.AddRange(block);
        }

        return [.. frame];
    }

    private static byte[] Block(ReadOnlySpan<byte> data)
    {
        List<byte> block = [];
        var seen = new Dictionary<uint, int>();
        int anchor = 0;
        int position = 0;

        // The last match starts 12 bytes before the end at the latest, and the last 5 bytes are literals.
        while (position < data.Length - 12)
        {
            uint key = BinaryPrimitives.ReadUInt32LittleEndian(data[position..]);
            bool found = seen.TryGetValue(key, out int match) && position - match <= 65535;
            seen[key] = position;
            if (!found)
            {
                position++;
                continue;
            }

            int length = 4;
            while (position + length < data.Length - 5 && data[match + length] == data[position + length])
            {
                length++;
            }

            Sequence(block, data[anchor..position], position - match, length);
            position += length;
            anchor = position;
        }

        Sequence(block, data[anchor..], 0, 0);
        return [.. block];
    }

    private static void Sequence(List<byte> block, ReadOnlySpan<byte> literals, int distance, int length)
    {
        int extra = distance == 0 ? 0 : length - 4;
        block.Add((byte)((Math.Min(literals.Length, 15) << 4) | Math.Min(extra, 15)));
        Length(block, literals.Length);
        block.AddRange(literals);
        if (distance != 0)
        {
            block.Add((byte)distance);
            block.Add((byte)(distance >> 8));
            Length(block, extra);
        }
    }

    private static void Length(List<byte> block, int length)
    {
        for (length -= 15; length >= 0; length -= 255)
        {
            block.Add((byte)Math.Min(length, 255));
            if (length < 255)
            {
                break;
            }
        }
    }
}
