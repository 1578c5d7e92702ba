using Yadokari.Boards.Pc.Boot;
using Yadokari.Core.Memory;

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

    // LZ4's decoder is a library's and works on pointers: what it is given decides what it may touch.
    [Fact]
    public void Hostile_lz4_fails_and_touches_nothing_beyond_the_target()
    {
        const int Guard = 4096;
        byte[] data = SyntheticKernel.Pattern(20_000, 3);
        byte[] packed = Lz4Writer.Pack(data);
        using GuestMemory memory = TestMemory.OfMiB(4);
        ulong target = (4 << 20) - Guard - (ulong)data.Length;
        byte[] guard = SyntheticKernel.Pattern(Guard, 9);
        var random = new Random(4);
        for (int i = 0; i < 2000; i++)
        {
            byte[] bad = packed[..random.Next(packed.Length / 2, packed.Length + 1)];
            for (int changes = random.Next(1, 5); changes > 0; changes--)
            {
                bad[random.Next(8, bad.Length)] = (byte)(random.Next(3) == 0 ? 255 : random.Next(256));
            }

            // The frame itself is in order, so that the block gets to the decoder.
            BitConverter.TryWriteBytes(bad.AsSpan(4), bad.Length - 8);
            memory.Write(target - Guard, guard);
            memory.Write(target + (ulong)data.Length, guard);
            bool done = PayloadUnpacker.Unpack((byte[])[.. bad, .. BitConverter.GetBytes(data.Length)], memory, target, data.Length);
            Assert.True(guard.AsSpan().SequenceEqual(memory.Bytes(target - Guard, Guard)));
            Assert.True(guard.AsSpan().SequenceEqual(memory.Bytes(target + (ulong)data.Length, Guard)));
            Assert.False(done && bad.Length < packed.Length - 8, "A block that lacks its end unpacked.");
        }
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(1)]
    [InlineData(8 << 20)]
    public void Lz4_of_another_length_than_announced_fails(int more)
    {
        byte[] data = SyntheticKernel.Pattern(20_000, 3);
        using GuestMemory memory = TestMemory.OfMiB(16);
        int length = data.Length + more;
        Assert.False(PayloadUnpacker.Unpack((byte[])[.. Lz4Writer.Pack(data), .. BitConverter.GetBytes(length)], memory, 0x1000, length));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(0x7FFF_FFFFu)]
    [InlineData(0xFFFF_FFFFu)]
    public void An_lz4_block_that_is_longer_than_the_file_fails(uint size)
    {
        byte[] data = SyntheticKernel.Pattern(20_000, 3);
        byte[] packed = Lz4Writer.Pack(data);
        BitConverter.TryWriteBytes(packed.AsSpan(4), size);
        using GuestMemory memory = TestMemory.OfMiB(16);
        Assert.False(PayloadUnpacker.Unpack((byte[])[.. packed, .. BitConverter.GetBytes(data.Length)], memory, 0x1000, data.Length));
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
