using Yadokari.Core;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Instances;

/// <summary>A machine's own disk: where it comes from.</summary>
internal static class MachineDisk
{
    /// <summary>Makes a disk with what an image has, which shares its blocks where the host's file system can do that.</summary>
    /// <param name="image">The image; stays as it is.</param>
    /// <param name="path">The disk's file, not there yet.</param>
    /// <param name="size">Bytes; no less than the image has.</param>
    /// <exception cref="UserErrorException">It can't be made.</exception>
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
