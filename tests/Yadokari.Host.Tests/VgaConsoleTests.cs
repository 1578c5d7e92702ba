using System.Text;
using Xunit;
using Yadokari.Core.Memory;
using Yadokari.Devices.Display;
using Yadokari.Devices.Keyboard;
using Yadokari.Host.Consoles;
using Yadokari.Linux;

namespace Yadokari.Host.Tests;

/// <summary>The screen as text, and text as strokes of keys.</summary>
public sealed class VgaConsoleTests : IDisposable
{
    private readonly GuestMemory _memory = GuestRam.Create([(0, 1 << 20)]);
    private readonly VgaText _vga;
    private readonly TextFrame _frame = new();
    private readonly string[] _rows = new string[25];

    public VgaConsoleTests()
    {
        _vga = new VgaText(_memory);
        Array.Fill(_rows, "");
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Lines_are_written_once_however_far_the_screen_scrolls()
    {
        var lines = new ScreenLines();
        var text = new StringBuilder();
        for (int line = 0; line < 100; line++)
        {
            int row = Math.Min(line, 24);
            if (line > 24)
            {
                Array.Copy(_rows, 1, _rows, 0, 24);
            }

            _rows[row] = $"line {line}";
            Show(lines, text, cursor: (Math.Min(row + 1, 24) * 80) + (row == 24 ? 20 : 0));
        }

        text.Append(lines.Leave());
        Assert.Equal(Enumerable.Range(0, 100).Select(n => $"line {n}"), text.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void The_row_that_is_being_written_waits()
    {
        var lines = new ScreenLines();
        var text = new StringBuilder();
        foreach (string part in (ReadOnlySpan<string>)["B", "Boot", "Booting", "Booting"])
        {
            _rows[0] = part;
            Show(lines, text, cursor: part.Length);
        }

        Assert.Equal("Booting\n", text.ToString());
    }

    [Fact]
    public void A_terminal_gets_what_changed_in_its_colours()
    {
        var screen = new TerminalScreen();
        var text = new StringBuilder();
        Array.Fill(_rows, "");
        Show(screen, text, cursor: 0);
        text.Clear();
        _rows[2] = "ab";
        Show(screen, text, cursor: 162);
        Assert.Equal("\e[3;1H\e[0;37;40mab\e[0m\e[3;3H\e[?25h", text.ToString());
        text.Clear();
        Show(screen, text, cursor: 162);
        Assert.Equal("", text.ToString());
        _memory.Write(0xB8000, [0xDB, 0x9C]);
        _vga.Look(_frame);
        screen.Show(_frame, text);
        Assert.Equal("\e[1;1H\e[0;5;91;44m█\e[0m\e[3;3H\e[?25h", text.ToString());
    }

    [Theory]
    [InlineData("a", "1E 9E")]
    [InlineData("A", "2A 1E 9E AA")]
    [InlineData("~", "2A 29 A9 AA")]
    [InlineData("|", "2A 2B AB AA")]
    [InlineData("\\", "2B AB")]
    [InlineData("\n", "1C 9C")]
    [InlineData("\u0003", "1D 2E AE 9D")]
    [InlineData("\u007f", "0E 8E")]
    [InlineData("\e", "01 81")]
    [InlineData("\ex", "38 2D AD B8")]
    [InlineData("\e[A", "E0 48 E0 C8")]
    [InlineData("\e[3~", "E0 53 E0 D3")]
    [InlineData("\e[15~", "3F BF")]
    [InlineData("\eOP", "3B BB")]
    [InlineData("\e[1;5C", "E0 4D E0 CD")]
    [InlineData("\e[Z", "2A 0F 8F AA")]
    [InlineData("é", "")]
    public void What_a_terminal_sends_becomes_keys(string typed, string set1)
    {
        List<string> codes = [];
        bool released = false;
        new KeyStrokes(stroke =>
        {
            foreach (byte code in stroke)
            {
                if (code == ScanCodes.Release)
                {
                    released = true;
                    continue;
                }

                codes.Add($"{ScanCodes.Translate(code) | (released ? 0x80 : 0):X2}");
                released = false;
            }
        }).Type(Encoding.UTF8.GetBytes(typed));
        Assert.Equal(set1, string.Join(' ', codes));
    }

    [Fact]
    public void Every_printable_character_has_a_key()
    {
        for (byte key = 0x20; key < 0x7F; key++)
        {
            int strokes = 0;
            new KeyStrokes(_ => strokes++).Type([key]);
            Assert.Equal(1, strokes);
        }
    }

    private void Show(IScreenText screen, StringBuilder text, int cursor)
    {
        byte[] cells = new byte[80 * 25 * 2];
        for (int i = 0; i < 80 * 25; i++)
        {
            string row = _rows[i / 80];
            cells[2 * i] = i % 80 < row.Length ? (byte)row[i % 80] : (byte)' ';
            cells[(2 * i) + 1] = 7;
        }

        _memory.Write(0xB8000, cells);
        foreach ((byte register, int value) in (ReadOnlySpan<(byte, int)>)[(0x0E, cursor >> 8), (0x0F, cursor & 0xFF)])
        {
            _vga.Ports.Write(0x14, [register]);
            _vga.Ports.Write(0x15, [(byte)value]);
        }

        _vga.Look(_frame);
        screen.Show(_frame, text);
    }
}
