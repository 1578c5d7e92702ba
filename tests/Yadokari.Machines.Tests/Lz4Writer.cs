using System.Buffers.Binary;
using K4os.Compression.LZ4;

namespace Yadokari.Machines.Tests;

/// <summary>Packs into LZ4's legacy frame, as Linux's build does.</summary>
internal static class Lz4Writer
{
    private const int BlockSize = 8 << 20;

    public static byte[] Pack(byte[] data)
    {
        List<byte> frame = [0x02, 0x21, 0x4C, 0x18];
        foreach (byte[] piece in data.Chunk(BlockSize))
        {
            byte[] block = new byte[LZ4Codec.MaximumOutputSize(piece.Length)];
            int length = LZ4Codec.Encode(piece, block.AsSpan());
            byte[] size = new byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(size, length);
            frame.AddRange(size);
            frame.AddRange(block.AsSpan(0, length));
        }

        return [.. frame];
    }
}
