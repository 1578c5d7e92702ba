namespace Yadokari.Devices.Storage;

/// <summary>How a floppy of 512-byte sectors is laid out, and which drive reads it.</summary>
/// <param name="Cylinders">Cylinders.</param>
/// <param name="Heads">Sides.</param>
/// <param name="Sectors">Sectors of a track, numbered from 1.</param>
/// <param name="Drive">The kind of drive, as the clock's memory has it (IBM PS/2 and PC BIOS interface technical reference, CMOS byte 10h).</param>
/// <param name="Rates">Data rates that it can be read at: a bit for each value of the controller's rate selection.</param>
public readonly record struct FloppyFormat(int Cylinders, int Heads, int Sectors, byte Drive, byte Rates)
{
    /// <summary>Bytes of a sector.</summary>
    public const int SectorSize = 512;

    // Kinds of drives.
    private const byte Drive360K = 1;
    private const byte Drive1200K = 2;
    private const byte Drive720K = 3;
    private const byte Drive1440K = 4;
    private const byte Drive2880K = 5;

    // Values of the controller's rate selection: 500, 300 and 250 kbit/s, 1 Mbit/s. Drives that turn faster read double density at 300 kbit/s.
    private const byte High = 1 << 0;
    private const byte Double = (1 << 1) | (1 << 2);
    private const byte Extra = 1 << 3;

    private static readonly FloppyFormat[] s_formats =
    [
        new(40, 1, 8, Drive360K, Double),
        new(40, 1, 9, Drive360K, Double),
        new(40, 2, 8, Drive360K, Double),
        new(40, 2, 9, Drive360K, Double),
        new(80, 2, 9, Drive720K, Double),
        new(80, 2, 15, Drive1200K, High),
        new(80, 2, 18, Drive1440K, High),
        new(80, 2, 20, Drive1440K, High),
        new(80, 2, 21, Drive1440K, High),
        new(82, 2, 21, Drive1440K, High),
        new(83, 2, 21, Drive1440K, High),
        new(80, 2, 36, Drive2880K, Extra),
    ];

    /// <summary>Bytes of the largest floppy.</summary>
    public static long Largest => s_formats[^1].Length;

    /// <summary>Bytes of it.</summary>
    public long Length => (long)Cylinders * Heads * Sectors * SectorSize;

    /// <summary>The format of an image: the one of its length, or the smallest that is longer. Null if it is longer than all.</summary>
    public static FloppyFormat? Of(long length)
    {
        int index = Array.FindIndex(s_formats, f => f.Length >= length);
        return index < 0 ? null : s_formats[index];
    }
}
