using Yadokari.Core.Disks;

namespace Yadokari.Devices.Storage;

/// <summary>A floppy drive with a floppy in it. Guarded by the controller; the image may be reached from any thread.</summary>
/// <param name="image">The floppy's sectors, cylinder by cylinder, side by side. Sectors beyond the image's end read as zeroes. Not owned.</param>
/// <param name="format">How it is laid out.</param>
public sealed class FloppyDrive(IDisk image, FloppyFormat format)
{
    /// <summary>How the floppy is laid out.</summary>
    public FloppyFormat Format => format;

    /// <summary>Whether the floppy is write protected.</summary>
    public bool ReadOnly => image.ReadOnly;

    /// <summary>The disk change line: active from power-on until the heads move.</summary>
    public bool Changed { get; set; } = true;

    /// <summary>Reads a sector, counted from the first one of the floppy. False on an error of the host.</summary>
    public bool TryRead(int sector, Span<byte> data)
    {
        long offset = (long)sector * FloppyFormat.SectorSize;
        if (offset + data.Length > image.Length)
        {
            data.Clear();
            return true;
        }

        return image.TryRead(offset, data);
    }

    /// <summary>Writes a sector. False on an error of the host, or where the image ends.</summary>
    public bool TryWrite(int sector, ReadOnlySpan<byte> data)
    {
        long offset = (long)sector * FloppyFormat.SectorSize;
        return offset + data.Length <= image.Length && image.TryWrite(offset, data);
    }
}
