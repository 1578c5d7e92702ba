namespace Yadokari.Devices.Display;

/// <summary>What a text screen shows at one time. Reused from one look to the next.</summary>
public sealed class TextFrame
{
    /// <summary>The most characters in a row that are shown.</summary>
    public const int MaxColumns = 132;

    /// <summary>The most rows that are shown.</summary>
    public const int MaxRows = 60;

    private readonly ushort[] _cells = new ushort[MaxColumns * MaxRows];

    /// <summary>Characters in a row.</summary>
    public int Columns { get; internal set; }

    /// <summary>Rows.</summary>
    public int Rows { get; internal set; }

    /// <summary>The cell that the cursor is on, row by row; -1 where it is hidden or elsewhere.</summary>
    public int Cursor { get; internal set; } = -1;

    /// <summary>Whether the adapter shows graphics, of which nothing can be shown here.</summary>
    public bool Graphics { get; internal set; }

    /// <summary>The cells, row by row: a character of code page 437, and above it the attribute: foreground, background, blinking.</summary>
    public ReadOnlySpan<ushort> Cells => _cells.AsSpan(0, Columns * Rows);

    internal Span<ushort> Row(int row) => _cells.AsSpan(row * Columns, Columns);
}
