using Yadokari.Core.Memory;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>Pages that the guest leaves read as zeroes afterwards, and others keep what they hold.</summary>
public sealed class BalloonTests : IDisposable
{
    private const ulong Ring = 0x1_0000;
    private const ulong Numbers = 0x2_0000;
    private const int Pages = 1024;

    private readonly GuestMemory _memory = GuestRam.Create([(0, Pages * 4096)]);
    private readonly VirtioBalloon _balloon = new();
    private readonly List<(ulong Gpa, ulong Length)> _written = [];
    private readonly Dma _dma;

    public BalloonTests()
    {
        _dma = new Dma(_memory, (gpa, length) => _written.Add((gpa, length)));
        for (int i = 64; i < Pages; i++)
        {
            _memory.Write((ulong)i * 4096, [0xAB]);
        }
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Inflating_discards_pages_of_any_order()
    {
        int[] pages = [100, 101, 102, 99, 300, 200, 201, 1023, 5000, -1];
        _memory.Write(Numbers, [.. pages.SelectMany(BitConverter.GetBytes)]);
        Serve(0, (Numbers, (uint)pages.Length * 4, false));
        Assert.Equal([99, 100, 101, 102, 200, 201, 300, 1023], Empty());
        Assert.Contains((99ul << 12, 4ul << 12), _written);
    }

    [Fact]
    public void Reports_discard_whole_pages_only()
    {
        Serve(2, (100 << 12, 0x4000, true), ((200 << 12) + 1, 0x2000, true), ((300 << 12) - 1, 2, true));
        Assert.Equal([100, 101, 102, 103, 201], Empty());
    }

    [Fact]
    public void Deflating_changes_nothing()
    {
        _memory.Write(Numbers, BitConverter.GetBytes(100));
        Serve(1, (Numbers, 4, false));
        Assert.Empty(Empty());
    }

    [Fact]
    public void The_target_is_the_hosts_and_the_size_the_guests()
    {
        int changes = 0;
        _balloon.ConfigChanged = () => changes++;
        _balloon.Target = 5 << 20;
        byte[] config = new byte[8];
        _balloon.WriteConfig(0, [1, 0, 0, 0, 2, 0, 0, 0]);
        _balloon.ReadConfig(0, config);
        Assert.Equal([0, 5, 0, 0, 2, 0, 0, 0], config);
        Assert.Equal((1, 8192), (changes, _balloon.Actual));
        _balloon.Stop();
        Assert.Equal((0, 5 << 20), (_balloon.Actual, _balloon.Target));
    }

    private int[] Empty() => [.. Enumerable.Range(64, Pages - 64).Where(i =>
    {
        byte[] first = [1];
        _memory.Read((ulong)i * 4096, first);
        return first[0] == 0;
    })];

    private void Serve(int number, params (ulong Gpa, uint Length, bool Writable)[] buffers)
    {
        var driver = new DriverQueue(_memory, Ring, 16, packed: false);
        Virtqueue queue = Virtqueue.Create(_dma, driver.Addresses, 16, 0)!;
        driver.Add(false, buffers);
        int interrupts = 0;
        _balloon.Process(number, queue, new DescriptorChain(_dma), () => interrupts++);
        Assert.Equal(1, interrupts);
        Assert.NotNull(driver.Take());
    }
}
