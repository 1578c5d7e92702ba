using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Devices.Storage;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>A floppy's image and its drive.</summary>
public sealed class FloppyMedium : IDisposable
{
    private readonly IDisk _image;

    private FloppyMedium(IDisk image, FloppyFormat format)
    {
        _image = image;
        byte[] sector = new byte[FloppyFormat.SectorSize];
        Path = image.Path;
        Format = format;
        Drive = new FloppyDrive(image, format);
        Boots = Drive.TryRead(0, sector) && BootMedia.IsBootSector(sector);
    }

    /// <summary>Path of the image, for messages.</summary>
    public string Path { get; }

    /// <summary>The floppy's geometry.</summary>
    public FloppyFormat Format { get; }

    /// <summary>The drive.</summary>
    public FloppyDrive Drive { get; }

    /// <summary>Whether it has a boot sector.</summary>
    public bool Boots { get; }

    /// <summary>Closes the image.</summary>
    public void Dispose() => _image.Dispose();

    /// <summary>Opens an image, always as raw.</summary>
    /// <exception cref="UserErrorException">The image can't be opened, or is larger than a floppy.</exception>
    public static FloppyMedium Open(FloppySpec config)
    {
        IDisk image = config.OpenImage();
        if (FloppyFormat.Of(image.Length) is { } format)
        {
            return new FloppyMedium(image, format);
        }

        image.Dispose();
        throw new UserErrorException($"The floppy '{config.Path}' has {image.Length} bytes; a floppy has {FloppyFormat.Largest >> 10} KiB at most: give a raw image of one.");
    }
}
