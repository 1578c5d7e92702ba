using System.Text;
using Yadokari.Devices.Display;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Writes a text screen as lines of text: a row when it has changed, but not again when the screen scrolls. The row with the cursor is written
/// once the cursor leaves it or a refresh finds it unchanged.
/// </summary>
internal sealed class ScreenLines : IScreenText
{
    private readonly List<string> _shown = [];
    private readonly List<string> _rows = [];
    private string _pending = "";

    /// <inheritdoc/>
    public void Show(TextFrame frame, StringBuilder output)
    {
        _rows.Clear();
        for (int row = 0; row < frame.Rows && !frame.Graphics; row++)
        {
            _rows.Add(TextOf(frame.Cells.Slice(row * frame.Columns, frame.Columns)));
        }

        Scroll();
        string pending = _pending;
        _pending = "";
        int current = frame.Cursor < 0 ? -1 : frame.Cursor / frame.Columns;
        for (int row = 0; row < _rows.Count; row++)
        {
            string before = row < _shown.Count ? _shown[row] : "";
            if (row == current && _rows[row] != pending && _rows[row] != before)
            {
                _pending = _rows[row];
                _rows[row] = before;
            }
            else if (_rows[row] != before)
            {
                output.Append(_rows[row]).Append(_rows[row].Length > 0 ? "\n" : "");
            }
        }

        _shown.Clear();
        _shown.AddRange(_rows);
    }

    /// <inheritdoc/>
    public string Leave() => _pending.Length > 0 ? _pending + "\n" : "";

    // Detects scrolling: moves the shown rows up by the count for which the remaining rows match the screen.
    private void Scroll()
    {
        if (_shown.Count != _rows.Count)
        {
            return;
        }

        for (int by = 0; by < _shown.Count; by++)
        {
            int same = 0;
            while (same + by < _shown.Count && _shown[same + by] == _rows[same])
            {
                same++;
            }

            // The last two rows may differ: the guest writes there.
            if (same > 0 && same + by >= _shown.Count - 2 && _rows[0].Length > 0)
            {
                _shown.RemoveRange(0, by);
                return;
            }
        }
    }

    private static string TextOf(ReadOnlySpan<ushort> cells)
    {
        Span<char> text = stackalloc char[cells.Length];
        for (int i = 0; i < cells.Length; i++)
        {
            text[i] = CodePage437.Of((byte)cells[i]);
        }

        return text.TrimEnd(' ').ToString();
    }
}
