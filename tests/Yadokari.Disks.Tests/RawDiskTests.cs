using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Linux;

namespace Yadokari.Disks.Tests;

public sealed class RawDiskTests : IDisposable
{
    private const int Size = 1 << 20;

    private readonly string _path = Path.GetTempFileName();
    private readonly byte[] _given = new byte[Size];

    public RawDiskTests()
    {
        new Random(5).NextBytes(_given);
        File.WriteAllBytes(_path, _given);
    }

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData(1, 4096)]
    [InlineData(300, 512)]
    [InlineData(1500, 512)]
    public void Pieces_are_read_and_written_in_order(int count, int length)
    {
        using GuestMemory memory = GuestRam.Create([(0, 4 << 20)]);
        var dma = new Dma(memory, (_, _) => { });
        HostBuffer[] pieces = [.. Enumerable.Range(0, count).Select(i => Piece(dma, (ulong)(count - 1 - i) * 1024, length))];
        using (IDisk disk = RawDisk.Open(_path, readOnly: false, 512))
        {
            Assert.True(disk.TryRead(4096, pieces));
            for (int i = 0; i < count; i++)
            {
                Assert.Equal(_given.AsSpan(4096 + (i * length), length), pieces[i].Bytes);
                pieces[i].Bytes.Reverse();
            }

            Assert.True(disk.TryWrite(8192, pieces));
            Assert.True(disk.TryFlush());
        }

        byte[] now = File.ReadAllBytes(_path);
        Assert.Equal(_given[..8192], now[..8192]);
        for (int i = 0; i < count; i++)
        {
            Assert.Equal(pieces[i].Bytes, now.AsSpan(8192 + (i * length), length));
        }

        Assert.Equal(Size, now.Length);
    }

    [Fact]
    public void What_lies_beyond_the_end_is_not_read()
    {
        using GuestMemory memory = GuestRam.Create([(0, 1 << 20)]);
        var dma = new Dma(memory, (_, _) => { });
        using IDisk disk = RawDisk.Open(_path, readOnly: true, 512);
        HostBuffer[] pieces = [Piece(dma, 0, 4096), Piece(dma, 8192, 4096)];
        Assert.False(disk.TryRead(Size - 4096, pieces));
        Assert.False(disk.TryRead(Size, new byte[512]));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Zeroes_are_zeroes_and_nothing_else_changes(bool mayDiscard)
    {
        using (IDisk disk = RawDisk.Open(_path, readOnly: false, 512))
        {
            Assert.True(disk.TryWriteZeroes(512, 200_192, mayDiscard));
        }

        byte[] now = File.ReadAllBytes(_path);
        Assert.Equal(_given[..512], now[..512]);
        Assert.Equal(new byte[200_192], now[512..200_704]);
        Assert.Equal(_given[200_704..], now[200_704..]);
    }

    [Fact]
    public void A_discard_keeps_the_length()
    {
        using (IDisk disk = RawDisk.Open(_path, readOnly: false, 512))
        {
            Assert.True(disk.TryDiscard(Size - 8192, 8192));
        }

        Assert.Equal(Size, new FileInfo(_path).Length);
    }

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(false, true, false)]
    [InlineData(true, false, false)]
    [InlineData(true, true, true)]
    public void Who_writes_has_it_alone(bool first, bool second, bool together)
    {
        using IDisk disk = RawDisk.Open(_path, readOnly: first, 512);
        if (together)
        {
            RawDisk.Open(_path, readOnly: second, 512).Dispose();
        }
        else
        {
            Assert.Contains(_path, Assert.Throws<UserErrorException>(() => RawDisk.Open(_path, readOnly: second, 512)).Message);
        }
    }

    private static HostBuffer Piece(Dma dma, ulong gpa, int length)
    {
        Assert.True(dma.TryLocate(gpa, length, out HostBuffer piece));
        return piece;
    }
}
