using Yadokari.Core;
using Yadokari.Linux;

namespace Yadokari.Boards.Pc;

/// <summary>The images that a machine is given by name.</summary>
public static class NamedImages
{
    /// <summary>Looks whether one that may be written is named twice, which opening would tell of as another machine's that uses it.</summary>
    /// <exception cref="UserErrorException">One is.</exception>
    public static void Check(IEnumerable<DiskConfig> disks, DiskConfig? floppy, string? cdrom)
    {
        Named[] all =
        [
            .. disks.Select(d => new Named("--disk", d.Path, !d.ReadOnly && !d.Snapshot)),
            .. floppy is null ? (Named[])[] : [new Named("--floppy", floppy.Path, !floppy.ReadOnly && !floppy.Snapshot)],
            .. cdrom is null ? (Named[])[] : [new Named("--cdrom", cdrom, false)],
        ];
        for (int i = 0; i < all.Length; i++)
        {
            for (int j = 0; j < i; j++)
            {
                if ((all[i].Writes || all[j].Writes) && IsSame(all[i].Path, all[j].Path))
                {
                    string options = all[i].Option == all[j].Option ? $"twice, by {all[i].Option}" : $"by both {all[j].Option} and {all[i].Option}";
                    throw new UserErrorException($"The image '{all[i].Path}' is named {options}, and what may be written is one drive's alone: name it once, or give a copy.");
                }
            }
        }
    }

    // Also by links. What is not there is told of when it is opened.
    private static bool IsSame(string first, string second) =>
        FileStatus.Of(first, out FileStatus one) == 0 && FileStatus.Of(second, out FileStatus other) == 0
        && (one.Device, one.Inode) == (other.Device, other.Inode);

    private readonly record struct Named(string Option, string Path, bool Writes);
}
