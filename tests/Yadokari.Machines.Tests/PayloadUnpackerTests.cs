using Yadokari.Core.Memory;
using Yadokari.Boards.Pc.Boot;

namespace Yadokari.Machines.Tests;

public sealed class PayloadUnpackerTests
{
    // Bytes that the x86 branch filter looks at, close together: the hardest case for undoing it.
    private static readonly byte[] s_branchBytes = [0xE8, 0xE9, 0xE8, 0x00, 0xFF, 0x12, 0x01];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Branches_packed_by_xz_come_back(int seed)
    {
        var random = new Random(seed);
        byte[] data = new byte[300_000];
        for (int i = 0; i < data.Length; i++)
        {
            data[i] = random.Next(8) == 0 ? (byte)random.Next(256) : s_branchBytes[random.Next(s_branchBytes.Length)];
        }

        // Stretches that do not pack at all, and such as pack well.
        random.NextBytes(data.AsSpan(100_000, 70_000));
        data.AsSpan(200_000, 50_000).Fill(0x55);
        Check(Packers.Pack("xz", data), data);
    }

    [Fact]
    public void Lz4_copies_of_every_distance_and_length_come_back()
    {
        List<byte> data = [];
        var random = new Random(1);
        for (int distance = 1; distance < 40; distance++)
        {
            for (int length = 4; length < 70; length += 3)
            {
                byte[] piece = new byte[distance];
                random.NextBytes(piece);
                data.AddRange(piece);
                for (int i = 0; i < length; i++)
                {
                    data.Add(data[^distance]);
                }
            }
        }

        Check(Lz4Writer.Pack([.. data]), [.. data]);
    }

    [Theory]
    [InlineData("lz4")]
    [InlineData("xz")]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public void Damage_is_told_and_nothing_beyond_the_target_is_touched(string format)
    {
        byte[] data = SyntheticKernel.Pattern(20_000, 3);
        byte[] packed = Packers.Pack(format, data);
        using GuestMemory memory = TestMemory.OfMiB(4);
        var random = new Random(2);
        for (int i = 0; i < 200; i++)
        {
            byte[] bad = [.. packed, .. BitConverter.GetBytes(data.Length)];
            bad[random.Next(6, packed.Length)] ^= (byte)(1 << random.Next(8));
            PayloadUnpacker.Unpack(bad, memory, 0x1000, data.Length);
            Assert.Equal(0, memory.Bytes(0xFFF, 1)[0]);
            Assert.Equal(0, memory.Bytes(0x1000 + (ulong)data.Length, 1)[0]);
        }

        Assert.False(PayloadUnpacker.Unpack((byte[])[.. packed[..(packed.Length / 2)], .. BitConverter.GetBytes(data.Length)], memory, 0x1000, data.Length));
    }

    private static void Check(byte[] packed, byte[] data)
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        Assert.True(PayloadUnpacker.Unpack((byte[])[.. packed, .. BitConverter.GetBytes(data.Length)], memory, 0x1000, data.Length));
        Assert.True(data.AsSpan().SequenceEqual(memory.Bytes(0x1000, data.Length)));
    }
}
