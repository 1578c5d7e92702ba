using Yadokari.Core.Memory;
using Yadokari.Devices.IsaDma;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

/// <summary>The DMA controllers by the 8237A's data sheet, and the page registers.</summary>
public sealed class IsaDmaTests : IDisposable
{
    private const int Size = 1 << 20;

    private readonly GuestMemory _memory = GuestRam.Create([(0, Size)]);
    private readonly List<(ulong Gpa, ulong Length)> _written = [];
    private readonly IsaDmaController _dma;

    public IsaDmaTests() => _dma = new IsaDmaController(new Dma(_memory, (gpa, length) => _written.Add((gpa, length))));

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Addresses_counts_and_pages_read_back()
    {
        for (int channel = 0; channel < 4; channel++)
        {
            Word(_dma.First, 2 * channel, (ushort)(0x1234 + channel));
            Word(_dma.First, (2 * channel) + 1, (ushort)(0x4321 + channel));
            Word(_dma.Second, 4 * channel, (ushort)(0x5678 + channel));
        }

        for (int channel = 0; channel < 4; channel++)
        {
            Assert.Equal(0x1234 + channel, Word(_dma.First, 2 * channel));
            Assert.Equal(0x4321 + channel, Word(_dma.First, (2 * channel) + 1));
            Assert.Equal(0x5678 + channel, Word(_dma.Second, 4 * channel));
        }

        for (byte page = 0; page < IsaDmaController.PagesLength; page++)
        {
            _dma.Pages.Out(page, (byte)(page ^ 0xA5));
        }

        Assert.All(Enumerable.Range(0, IsaDmaController.PagesLength), page => Assert.Equal(page ^ 0xA5, _dma.Pages.In((ulong)page)));
    }

    [Fact]
    public void The_flip_flop_is_cleared_by_its_command_and_by_a_master_clear()
    {
        _dma.First.Out(0, 0x11);
        _dma.First.Out(0xC, 0);
        Word(_dma.First, 0, 0x2233);
        _dma.First.Out(0, 0x44);
        _dma.First.Out(0xD, 0);
        Assert.Equal(0x2244, Word(_dma.First, 0));
    }

    [Fact]
    public void Masks_are_set_one_by_one_and_all_at_once()
    {
        Assert.Equal(0x0F, _dma.First.In(0xF));
        _dma.First.Out(0xA, 2);
        Assert.Equal(0x0B, _dma.First.In(0xF));
        _dma.First.Out(0xA, 4 | 2);
        _dma.First.Out(0xF, 0x05);
        Assert.Equal(0x05, _dma.First.In(0xF));
        _dma.First.Out(0xE, 0);
        Assert.Equal(0, _dma.First.In(0xF));
        _dma.First.Out(0xD, 0);
        Assert.Equal(0x0F, _dma.First.In(0xF));
    }

    [Fact]
    public void A_device_fills_memory_until_terminal_count()
    {
        Program(2, mode: 0x44, 0x5_0FF0, count: 0x30);
        byte[] data = Pattern(0x40);
        Assert.Equal(0x30, _dma.Channel(2).Write(data, out bool terminal));
        Assert.True(terminal);
        Assert.Equal(data[..0x30], Bytes(0x5_0FF0, 0x30));
        Assert.Equal(0, Bytes(0x5_1020, 1)[0]);
        Assert.Equal(0x30, _written.Sum(w => (int)w.Length));
        Assert.Equal((0x1020, 0xFFFF), (Word(_dma.First, 4), Word(_dma.First, 5)));

        // Terminal count shows once, and masks the channel.
        Assert.Equal(0x04, _dma.First.In(8));
        Assert.Equal(0, _dma.First.In(8));
        Assert.Equal(0x0F, _dma.First.In(0xF));
    }

    [Fact]
    public void A_device_reads_memory_downwards_and_begins_again()
    {
        byte[] data = Pattern(4);
        _memory.Write(0x2_0100, data);
        Program(1, mode: 0x48 | 0x20 | 0x10, 0x2_0103, count: 4); // Decrement, automatic initialization.
        byte[] read = new byte[4];
        for (int round = 0; round < 2; round++)
        {
            Assert.Equal(4, _dma.Channel(1).Read(read, out bool terminal));
            Assert.True(terminal);
            Assert.Equal(data.Reverse(), read);
            Assert.Equal(3, Word(_dma.First, 3));
        }
    }

    [Fact]
    public void Addresses_wrap_within_their_page()
    {
        Program(3, mode: 0x44, 0x3_FFFE, count: 4);
        Assert.Equal(4, _dma.Channel(3).Write(new byte[] { 1, 2, 3, 4 }, out _));
        Assert.Equal([1, 2], Bytes(0x3_FFFE, 2));
        Assert.Equal([3, 4], Bytes(0x3_0000, 2));
    }

    [Fact]
    public void The_second_controller_counts_words()
    {
        _dma.Pages.Out(0x8B - 0x81, 0x05); // Bit 0 belongs to the address.
        Word(_dma.Second, 4, 0x0801);
        Word(_dma.Second, 6, 1);
        _dma.Second.Out(0x16, 0x45);
        _dma.Second.Out(0x14, 1);
        Assert.Equal(4, _dma.Channel(5).Write(new byte[] { 1, 2, 3, 4, 5, 6 }, out bool terminal));
        Assert.True(terminal);
        Assert.Equal([1, 2, 3, 4, 0], Bytes(0x4_1002, 5));
    }

    [Theory]
    [InlineData(0x40)] // Verify.
    [InlineData(0x48)] // The other way.
    [InlineData(0x4C)] // Illegal.
    public void Other_kinds_of_transfers_only_count(byte mode)
    {
        Program(2, mode, 0x1000, count: 8);
        Assert.Equal(8, _dma.Channel(2).Write(Pattern(8), out bool terminal));
        Assert.True(terminal);
        Assert.Equal(new byte[8], Bytes(0x1000, 8));
        Assert.Empty(_written);
    }

    [Fact]
    public void What_is_not_memory_swallows_and_reads_as_ones()
    {
        Program(2, mode: 0x44, 0xFF_FFF8, count: 16);
        Assert.Equal(16, _dma.Channel(2).Write(Pattern(16), out _));
        Assert.Empty(_written);
        Program(2, mode: 0x48, Size, count: 4);
        byte[] read = new byte[4];
        _dma.Channel(2).Read(read, out _);
        Assert.Equal([0xFF, 0xFF, 0xFF, 0xFF], read);
    }

    [Fact]
    public void A_device_waits_while_its_channel_is_masked_and_hears_when_it_is_not()
    {
        int ready = 0;
        IsaDmaChannel channel = _dma.Channel(2);
        channel.Ready += () => ready++;
        Program(2, mode: 0x44, 0x1000, count: 8);
        _dma.First.Out(0xA, 4 | 2);
        Assert.Equal(0, channel.Write(Pattern(8), out bool terminal));
        Assert.False(terminal);
        Assert.Equal((0x40, 0), (_dma.First.In(8), ready));
        _dma.First.Out(8, 0x04); // The controller as a whole is off.
        _dma.First.Out(0xA, 2);
        Assert.Equal(0, ready);
        _dma.First.Out(8, 0);
        Assert.Equal(1, ready);
        channel.Withdraw();
        _dma.First.Out(0xA, 2);
        Assert.Equal((0, 1), (_dma.First.In(8), ready));
    }

    private static byte[] Pattern(int length) => [.. Enumerable.Range(0, length).Select(i => (byte)((i * 7) + 1))];

    private static void Word(Core.Buses.IBusDevice controller, int register, ushort value)
    {
        controller.Out((ulong)register, (byte)value);
        controller.Out((ulong)register, (byte)(value >> 8));
    }

    private static int Word(Core.Buses.IBusDevice controller, int register) => controller.In((ulong)register) | (controller.In((ulong)register) << 8);

    private void Program(int channel, byte mode, uint gpa, int count)
    {
        int[] pages = [6, 2, 0, 1];
        _dma.First.Out(0xC, 0);
        _dma.First.Out(0xB, (byte)(mode | channel));
        Word(_dma.First, 2 * channel, (ushort)gpa);
        Word(_dma.First, (2 * channel) + 1, (ushort)(count - 1));
        _dma.Pages.Out((ulong)pages[channel], (byte)(gpa >> 16));
        _dma.First.Out(0xA, (byte)channel);
    }

    private byte[] Bytes(ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        _memory.Read(gpa, bytes);
        return bytes;
    }
}
