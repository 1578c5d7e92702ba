using Yadokari.Core;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Instances;

/// <summary>Makes a machine's own disk.</summary>
internal static class MachineDisk
{
    /// <summary>Copies an image to a new disk, by reflink if the host's file system supports it.</summary>
    /// <param name="image">The image; not changed.</param>
    /// <param name="path">The disk's file; must not exist.</param>
    /// <param name="size">Size of the disk in bytes; at least that of the image.</param>
    /// <exception cref="UserErrorException">The disk can't be made.</exception>
    public static void Make(string image, string path, long size)
    {
        HostTool cp = HostTool.TryFind("cp", HostTool.SearchPath, default) ?? throw new UserErrorException("There is no cp on this host: install coreutils.");
        HostTool.Outcome outcome = cp.Run("/", "--reflink=auto", "--sparse=always", "--", image, path);
        if (outcome.ExitCode != 0)
        {
            throw new UserErrorException(outcome.DiskFull
                ? $"The disk that {path} lies on is full: free a gigabyte there, or set XDG_DATA_HOME to a folder that has room."
                : $"The disk {path} can't be made ({outcome.Reason}): set XDG_DATA_HOME to a folder that can be written.");
        }

        using FileStream file = new(path, FileMode.Open, FileAccess.ReadWrite);
        file.SetLength(size);
    }
}
