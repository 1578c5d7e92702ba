using System.Text;
using Yadokari.Core.Memory;
using Yadokari.Devices.Display;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

public sealed class VgaTextTests : IDisposable
{
    private readonly GuestMemory _memory = GuestRam.Create([(0, 1 << 20)]);
    private readonly VgaText _vga;
    private readonly TextFrame _frame = new();

    public VgaTextTests() => _vga = new VgaText(_memory);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void It_starts_in_mode_3_with_the_text_that_is_in_memory()
    {
        Write(0xB8000, "hermit");
        Write(0xB8000 + (24 * 160) + 156, "ab");
        _vga.Look(_frame);
        Assert.Equal((80, 25, 0, false), (_frame.Columns, _frame.Rows, _frame.Cursor, _frame.Graphics));
        Assert.Equal((ushort)('h' | 0x1F00), _frame.Cells[0]);
        Assert.Equal((ushort)('b' | 0x1F00), _frame.Cells[^1]);
    }

    [Fact]
    public void The_screen_moves_with_its_start_and_the_cursor_with_it()
    {
        Write(0xB8000 + (3 * 160), "third");
        Crtc(0x0C, 0);
        Crtc(0x0D, 3 * 80);
        Crtc(0x0E, (5 * 80) >> 8);
        Crtc(0x0F, ((5 * 80) & 0xFF) + 7);
        _vga.Look(_frame);
        Assert.Equal((ushort)('t' | 0x1F00), _frame.Cells[0]);
        Assert.Equal((2 * 80) + 7, _frame.Cursor);
        Crtc(0x0A, 0x20);
        _vga.Look(_frame);
        Assert.Equal(-1, _frame.Cursor);
    }

    [Theory]
    [InlineData(0x27, 0x8F, 0x1F, 0x4F, 40, 25)] // Mode 1.
    [InlineData(0x4F, 0x8F, 0x1F, 0x47, 80, 50)] // The small font.
    public void Other_sizes_are_those_of_the_registers(byte end, byte vertical, byte overflow, byte height, int columns, int rows)
    {
        Crtc(0x01, end);
        Crtc(0x12, vertical);
        Crtc(0x07, overflow);
        Crtc(0x09, height);
        _vga.Look(_frame);
        Assert.Equal((columns, rows), (_frame.Columns, _frame.Rows));
    }

    [Fact]
    public void Graphics_are_told_from_text()
    {
        _vga.Ports.Out(0x0E, 6);
        _vga.Ports.Out(0x0F, 0x05);
        _vga.Look(_frame);
        Assert.True(_frame.Graphics);
        _vga.Reset();
        _vga.Look(_frame);
        Assert.False(_frame.Graphics);
    }

    [Fact]
    public void No_register_leads_out_of_the_window()
    {
        foreach (byte value in (ReadOnlySpan<byte>)[0, 0x7F, 0x80, 0xFF])
        {
            for (byte register = 0; register < 0x19; register++)
            {
                Crtc(register, value);
                _vga.Look(_frame);
                Assert.InRange(_frame.Cursor, -1, _frame.Cells.Length - 1);
            }
        }
    }

    [Fact]
    public void A_guest_that_waits_for_the_beam_sees_it_come_and_go()
    {
        int first = _vga.Ports.In(0x1A) & 0x09;
        Assert.Equal(0x09, first ^ (_vga.Ports.In(0x1A) & 0x09));
    }

    [Fact]
    public void The_crt_controller_is_where_the_miscellaneous_output_says()
    {
        Crtc(0x0F, 0x5A);
        Assert.Equal((0x5A, 0xFF), (_vga.Ports.In(0x15), _vga.MonochromePorts.In(0x05)));
        _vga.MonochromePorts.Out(0x05, 1);
        _vga.Ports.Out(0x02, 0x66);
        Assert.Equal((0xFF, 0x5A), (_vga.Ports.In(0x15), _vga.MonochromePorts.In(0x05)));
        Assert.NotEqual(0xFF, _vga.MonochromePorts.In(0x0A));
        _vga.Reset();
        Assert.Equal(0xFF, _vga.MonochromePorts.In(0x04));
    }

    [Fact]
    public void Registers_keep_what_is_written()
    {
        _ = _vga.Ports.In(0x1A);
        _vga.Ports.Out(0x00, 0x2B); // Attribute 0Bh, palette on.
        _vga.Ports.Out(0x00, 0x15);
        _vga.Ports.Out(0x00, 0x2B);
        Assert.Equal(0x15, _vga.Ports.In(0x01));
        _vga.Ports.Out(0x08, 7);
        foreach (byte component in (ReadOnlySpan<byte>)[1, 2, 3])
        {
            _vga.Ports.Out(0x09, component);
        }

        _vga.Ports.Out(0x07, 7);
        Assert.Equal((1, 2, 3), (_vga.Ports.In(0x09), _vga.Ports.In(0x09), _vga.Ports.In(0x09)));
        Assert.Equal(1, _vga.Ports.In(0x0C) & 1); // Colour: the CRT controller is at 3D4h.
    }

    private void Crtc(byte register, byte value)
    {
        _vga.Ports.Out(0x14, register);
        _vga.Ports.Out(0x15, value);
    }

    private void Write(ulong gpa, string text) => _memory.Write(gpa, [.. Encoding.ASCII.GetBytes(text).SelectMany(b => new byte[] { b, 0x1F })]);
}
