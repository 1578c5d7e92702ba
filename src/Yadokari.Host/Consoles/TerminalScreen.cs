using System.Globalization;
using System.Text;
using Yadokari.Devices.Display;

namespace Yadokari.Host.Consoles;

/// <summary>Draws a text screen at the top left of a terminal (ECMA-48), in colour. Only changed cells are written.</summary>
internal sealed class TerminalScreen : IScreenText
{
    private const string Graphics = "[the guest shows graphics, which a terminal can't]";

    // In VGA's colour numbers bit 0 is blue and bit 2 red; in the terminal's it is the reverse.
    private static readonly int[] s_colours = [0, 4, 2, 6, 1, 5, 3, 7];

    private readonly ushort[] _shown = new ushort[TextFrame.MaxColumns * TextFrame.MaxRows];
    private int _columns;
    private int _rows;
    private int _cursor = -2;
    private bool _graphics;
    private int _attribute;

    /// <inheritdoc/>
    public void Show(TextFrame frame, StringBuilder output)
    {
        if (frame.Columns != _columns || frame.Rows != _rows || frame.Graphics != _graphics)
        {
            (_columns, _rows, _graphics) = (frame.Columns, frame.Rows, frame.Graphics);
            _shown.AsSpan().Fill(0x0720);
            _cursor = -2;
            output.Append("\e[0m\e[2J");
            if (_graphics)
            {
                output.Append("\e[H").Append(Graphics);
            }
        }

        if (_graphics)
        {
            return;
        }

        _attribute = -1;
        int at = -1;
        ReadOnlySpan<ushort> cells = frame.Cells;
        for (int i = 0; i < cells.Length; i++)
        {
            if (cells[i] == _shown[i])
            {
                continue;
            }

            if (at != i || i % _columns == 0)
            {
                Move(output, i);
            }

            Colour(output, cells[i] >> 8);
            output.Append(CodePage437.Of((byte)cells[i]));
            _shown[i] = cells[i];
            at = i + 1;
        }

        if (at < 0 && frame.Cursor == _cursor)
        {
            return;
        }

        _cursor = frame.Cursor;
        output.Append("\e[0m");
        if (_cursor < 0)
        {
            output.Append("\e[?25l");
            return;
        }

        Move(output, _cursor);
        output.Append("\e[?25h");
    }

    /// <inheritdoc/>
    public string Leave()
    {
        _cursor = -2;
        return string.Create(CultureInfo.InvariantCulture, $"\e[0m\e[?25h\e[{_rows + 1};1H\r\n");
    }

    private void Move(StringBuilder output, int cell) =>
        output.Append(CultureInfo.InvariantCulture, $"\e[{(cell / _columns) + 1};{(cell % _columns) + 1}H");

    private void Colour(StringBuilder output, int attribute)
    {
        if (attribute == _attribute)
        {
            return;
        }

        _attribute = attribute;
        int foreground = s_colours[attribute & 7] + ((attribute & 8) != 0 ? 90 : 30);
        int background = s_colours[(attribute >> 4) & 7] + 40;
        output.Append(CultureInfo.InvariantCulture, $"\e[{((attribute & 0x80) != 0 ? "0;5" : "0")};{foreground};{background}m");
    }
}
