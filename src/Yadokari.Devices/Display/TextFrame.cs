namespace Yadokari.Devices.Display;

/// <summary>A snapshot of a text screen. Reused for further snapshots.</summary>
public sealed class TextFrame
{
    /// <summary>The maximum number of columns.</summary>
    public const int MaxColumns = 132;

    /// <summary>The maximum number of rows.</summary>
    public const int MaxRows = 60;

    private readonly ushort[] _cells = new ushort[MaxColumns * MaxRows];

    /// <summary>Characters in a row.</summary>
    public int Columns { get; internal set; }

    /// <summary>Rows.</summary>
    public int Rows { get; internal set; }

    /// <summary>The cell that the cursor is on, row by row; -1 where it is hidden or elsewhere.</summary>
    public int Cursor { get; internal set; } = -1;

    /// <summary>Whether the adapter is in a graphics mode, which is not emulated.</summary>
    public bool Graphics { get; internal set; }

    /// <summary>The cells, row by row: a character of code page 437, and above it the attribute: foreground, background, blinking.</summary>
    public ReadOnlySpan<ushort> Cells => _cells.AsSpan(0, Columns * Rows);

    internal Span<ushort> Row(int row) => _cells.AsSpan(row * Columns, Columns);
}
