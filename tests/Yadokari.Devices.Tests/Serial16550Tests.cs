using System.Text;
using Yadokari.Devices.Serial;

namespace Yadokari.Devices.Tests;

/// <summary>PC16550D data sheet, and what Linux 6.1's 8250 driver tries.</summary>
public sealed class Serial16550Tests
{
    private const byte Idle = 0x01;
    private readonly Probe _irq = new();
    private readonly Paper _paper = new();
    private readonly Serial16550 _uart;

    public Serial16550Tests() => _uart = new Serial16550(_irq, _paper);

    private void Enable(byte interrupts, byte fifo = 0x01)
    {
        _uart.Out(4, 0x0B);
        _uart.Out(2, fifo);
        _uart.Out(1, interrupts);
    }

    [Fact]
    public void Output_reaches_the_console_and_the_transmitter_is_empty_again()
    {
        foreach (byte c in "hello\n"u8)
        {
            _uart.Out(0, c);
            Assert.Equal(0x60, _uart.In(5));
        }

        Assert.Equal("hello\n", _paper.Text);
    }

    [Fact]
    public void Linux_finds_a_16550A()
    {
        _uart.Out(1, 0x00);
        Assert.Equal(0x00, _uart.In(1));
        _uart.Out(1, 0x0F);
        Assert.Equal(0x0F, _uart.In(1));
        _uart.Out(1, 0x00);
        _uart.Out(4, 0x10 | 0x0A);
        Assert.Equal(0x90, _uart.In(6) & 0xF0);
        _uart.Out(4, 0);
        _uart.Out(2, 0x01);
        Assert.Equal(0xC0, _uart.In(2) & 0xC0);
        _uart.Out(3, 0x80); // No EFR: the offset is IIR still.
        Assert.NotEqual(0, _uart.In(2));
        _uart.Out(2, 0x21); // No 64-byte FIFO.
        Assert.Equal(0xC0, _uart.In(2) & 0xE0);
        _uart.Out(3, 0x00);
        _uart.Out(1, 0x40); // No XScale.
        Assert.Equal(0, _uart.In(1));
        _uart.Out(7, 0x5A);
        Assert.Equal(0x5A, _uart.In(7));
    }

    [Fact]
    public void Divisor_latch_hides_data_and_interrupt_enable()
    {
        _uart.Out(3, 0x83);
        _uart.Out(0, 0x34);
        _uart.Out(1, 0x12);
        Assert.Equal(0x34, _uart.In(0));
        Assert.Equal(0x12, _uart.In(1));
        _uart.Out(3, 0x03);
        Assert.Equal(0x00, _uart.In(1));
        Assert.Equal("", _paper.Text);
    }

    [Fact]
    public void Transmitter_interrupt_rises_each_time_it_is_enabled_and_falls_when_iir_is_read()
    {
        Enable(0);
        for (int i = 0; i < 2; i++)
        {
            _uart.Out(1, 0x02);
            Assert.True(_irq.Level);
            Assert.Equal(0xC2, _uart.In(2));
            Assert.False(_irq.Level);
            Assert.Equal(0xC1, _uart.In(2));
            _uart.Out(1, 0x00);
        }

        _uart.Out(1, 0x02);
        _uart.In(2);
        int rises = _irq.Rises;
        _uart.Out(0, (byte)'x');
        Assert.Equal(rises + 1, _irq.Rises);
    }

    [Fact]
    public void A_console_without_room_keeps_the_transmitter_busy_and_interrupts_once_it_has_some()
    {
        Enable(0x03);
        _uart.In(2);
        _paper.HasRoom = false;
        _uart.Out(0, (byte)'a');
        Assert.Equal("a", _paper.Text);
        Assert.Equal(0x00, _uart.In(5));
        Assert.Equal(0xC0 | Idle, _uart.In(2));
        Assert.False(_irq.Level);

        _uart.Out(1, 0x01);
        _uart.Out(1, 0x03);
        _uart.ResumeOutput(); // Too early: there is none yet.
        Assert.Equal(0x00, _uart.In(5));
        Assert.False(_irq.Level);

        // The guest goes on meanwhile.
        Assert.Equal(1, _uart.Receive("k"u8));
        Assert.True(_irq.Level);
        Assert.Equal((byte)'k', _uart.In(0));
        Assert.False(_irq.Level);

        _paper.HasRoom = true;
        _uart.ResumeOutput();
        Assert.True(_irq.Level);
        Assert.Equal(0x60, _uart.In(5));
        Assert.Equal(0xC2, _uart.In(2));
        Assert.False(_irq.Level);
        _uart.ResumeOutput(); // Nothing waited.
        Assert.False(_irq.Level);
        _uart.Out(0, (byte)'b');
        Assert.Equal(0x60, _uart.In(5));
        Assert.Equal("ab", _paper.Text);
    }

    [Fact]
    public void Nothing_is_lost_of_a_guest_that_does_not_look_at_the_transmitter()
    {
        _paper.HasRoom = false;
        foreach (byte c in "0123456789abcdefghijklmnopqrstuvwxyz"u8)
        {
            _uart.Out(0, c);
        }

        Assert.Equal("0123456789abcdefghijklmnopqrstuvwxyz", _paper.Text);
        Assert.Equal(0x00, _uart.In(5));
    }

    [Fact]
    public void A_busy_transmitter_is_empty_after_a_reset_and_in_loopback()
    {
        _paper.HasRoom = false;
        _uart.Out(0, (byte)'a');
        _uart.Out(4, 0x10);
        _uart.Out(0, (byte)'b');
        Assert.Equal(0x61, _uart.In(5));
        _uart.Out(4, 0x00);
        Assert.Equal(0x01, _uart.In(5));
        _uart.Reset();
        Assert.Equal(0x60, _uart.In(5));
        Assert.Equal("a", _paper.Text);
    }

    [Fact]
    public void A_driver_that_knows_nothing_of_modem_control_gets_input_and_interrupts()
    {
        // As in xv6's uart.c, and in Pintos's but for OUT2.
        _uart.Out(2, 0x00);
        _uart.Out(3, 0x03);
        _uart.Out(4, 0x00);
        int given = _uart.Receive("ab"u8);
        Assert.Equal(0, given);
        _uart.Drained += () => given += _uart.Receive("ab"u8[given..]);
        _uart.Out(1, 0x01);
        Assert.Equal(1, given);
        Assert.True(_irq.Level);
        Assert.Equal((byte)'a', _uart.In(0));
        Assert.Equal((byte)'b', _uart.In(0));
        Assert.False(_irq.Level);
        _uart.Out(1, 0x03);
        Assert.True(_irq.Level);
    }

    [Fact]
    public void A_driver_that_has_raised_modem_control_is_heeded()
    {
        _uart.Out(1, 0x01);
        Assert.Equal(1, _uart.Receive("a"u8));
        _uart.Out(4, 0x01); // DTR alone.
        Assert.False(_irq.Level);
        Assert.Equal((byte)'a', _uart.In(0));
        Assert.Equal(0, _uart.Receive("b"u8));
        _uart.Out(4, 0x00);
        _uart.Out(1, 0x00);
        _uart.Out(1, 0x01);
        Assert.Equal(0, _uart.Receive("b"u8));
        _uart.Reset();
        _uart.Out(1, 0x01);
        Assert.Equal(1, _uart.Receive("b"u8));
    }

    [Theory]
    [InlineData(0x0F)] // Linux, looking for the chip.
    [InlineData(0x05)] // Linux, opening it.
    public void Linux_gets_no_input_before_it_asks(byte interrupts)
    {
        _uart.Out(4, 0x08);
        _uart.Out(1, interrupts);
        Assert.Equal(0, _uart.Receive("a"u8));
    }

    [Fact]
    public void Out2_gates_the_line()
    {
        _uart.Out(1, 0x02);
        Assert.False(_irq.Level);
        _uart.Out(4, 0x08);
        Assert.True(_irq.Level);
        _uart.Out(4, 0x18);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Received_data_interrupts_by_trigger_level_and_by_timeout()
    {
        Enable(0x01, fifo: 0x41); // Trigger at 4.
        Assert.Equal(3, _uart.Receive("abc"u8));
        Assert.Equal(0xCC, _uart.In(2));
        Assert.Equal(1, _uart.Receive("d"u8));
        Assert.Equal(0xC4, _uart.In(2));
        Assert.Equal("abcd"u8.ToArray(), new[] { _uart.In(0), _uart.In(0), _uart.In(0), _uart.In(0) });
        Assert.Equal(0xC0 | Idle, _uart.In(2));
        Assert.False(_irq.Level);
        Assert.Equal(0x60, _uart.In(5));
    }

    [Fact]
    public void Sources_are_shown_by_priority()
    {
        Enable(0x0F);
        _uart.Out(4, 0x18); // Loopback without OUT1 and the others: CTS and DSR go.
        _uart.Out(4, 0x08);
        _uart.ReceiveBreak();
        Assert.Equal(0xC6, _uart.In(2));
        Assert.Equal(0x60 | 0x01 | 0x10 | 0x80, _uart.In(5));
        Assert.Equal(0xC4, _uart.In(2));
        _uart.In(0);
        Assert.Equal(0xC2, _uart.In(2));
        Assert.Equal(0xC0, _uart.In(2));
        Assert.NotEqual(0, _uart.In(6) & 0x0F);
        Assert.Equal(0xC1, _uart.In(2));
    }

    [Fact]
    public void What_does_not_fit_is_asked_for_again()
    {
        Enable(0x01);
        byte[] input = Encoding.ASCII.GetBytes("0123456789abcdefghijklmnopqrstuvwxyz");
        int given = _uart.Receive(input);
        Assert.Equal(16, given);
        _uart.Drained += () => given += _uart.Receive(input.AsSpan(given));
        var read = new List<byte>();
        while ((_uart.In(5) & 1) != 0)
        {
            read.Add(_uart.In(0));
        }

        Assert.Equal(input, read);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Without_fifos_there_is_room_for_one()
    {
        _uart.Out(4, 0x02);
        Assert.Equal(1, _uart.Receive("ab"u8));
        Assert.Equal(0, _uart.In(2) & 0xC0);
    }

    [Fact]
    public void Input_waits_until_the_guest_requests_it()
    {
        int given = _uart.Receive("abc"u8);
        Assert.Equal(0, given);
        _uart.Drained += () => given += _uart.Receive("abc"u8);
        _uart.Out(4, 0x09);
        _uart.Out(2, 0x07); // A driver that starts clears the FIFOs.
        _uart.Out(1, 0x01);
        Assert.Equal(0, given);
        _uart.Out(4, 0x0B);
        Assert.Equal(3, given);
        Assert.Equal((byte)'a', _uart.In(0));
    }

    [Fact]
    public void Loopback_keeps_bytes_in_the_chip_and_overruns()
    {
        _uart.Out(4, 0x10);
        _uart.Out(0, (byte)'a');
        _uart.Out(0, (byte)'b');
        Assert.Equal(0x63, _uart.In(5));
        Assert.Equal(0x61, _uart.In(5));
        Assert.Equal((byte)'a', _uart.In(0));
        Assert.Equal("", _paper.Text);
        Assert.Equal(0, _uart.Receive("x"u8));
    }

    [Fact]
    public void Clearing_the_fifo_drops_what_waits()
    {
        Enable(0x01);
        _uart.Receive("abc"u8);
        _uart.Out(2, 0x03);
        Assert.Equal(0x60, _uart.In(5));
        Assert.False(_irq.Level);
    }
}
