using System.Buffers.Binary;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Disks;
using Yadokari.Devices.Storage;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The media that firmware can boot from.</summary>
/// <param name="disks">The disks.</param>
/// <param name="disc">The CD; null for none.</param>
/// <param name="floppy">The floppy; null for none.</param>
internal sealed class BootMedia(IReadOnlyList<IDisk> disks, IDisk? disc, FloppyMedium? floppy)
{
    private const ushort BootSignature = 0xAA55;

    // The boot record volume descriptor of a CD (El Torito 1.0, figure 7).
    private const long BootRecord = 17 * 2048;

    /// <summary>Whether a sector has the signature of a boot sector.</summary>
    public static bool IsBootSector(ReadOnlySpan<byte> sector) => sector.Length >= 512 && BinaryPrimitives.ReadUInt16LittleEndian(sector[510..]) == BootSignature;

    /// <summary>The floppy; null for none.</summary>
    public FloppyMedium? Floppy => floppy;

    /// <summary>Whether there is a CD and no disk.</summary>
    public bool HasCdromAlone => disc is not null && disks.Count == 0;

    /// <summary>Checks that one of the media is bootable, so that the user gets an error before the machine runs.</summary>
    /// <exception cref="UserErrorException">There are media, and none has a boot sector or boot record.</exception>
    public void Check()
    {
        if (floppy is { Boots: true } || disks.Any(HasBootSector) || (disc is not null && HasBootRecord(disc)))
        {
            return;
        }

        if (disks.Count > 0)
        {
            throw new ConfigurationException("/disks", $"The disk '{disks[0].Path}' has no boot sector, and there is no other medium to boot from", $"give a disk with a boot loader, or a CD by {{/cdrom}}");
        }

        if (disc is not null)
        {
            throw new ConfigurationException("/cdrom", $"The CD '{disc.Path}' has no boot record, and there is no other medium to boot from", $"give a CD that boots, or a disk by {{/disks}}");
        }

        if (floppy is not null)
        {
            throw new UserErrorException($"The floppy '{floppy.Path}' has no boot sector, and there is no other medium to boot from: give one that boots.");
        }
    }

    private static bool HasBootSector(IDisk disk)
    {
        byte[] sector = new byte[512];
        return disk.TryRead(0, sector) && IsBootSector(sector);
    }

    private static bool HasBootRecord(IDisk disc)
    {
        byte[] record = new byte[64];
        return disc.Length >= BootRecord + record.Length && disc.TryRead(BootRecord, record)
            && record.AsSpan(1).StartsWith("CD001"u8) && record.AsSpan(7).StartsWith("EL TORITO SPECIFICATION"u8);
    }
}
