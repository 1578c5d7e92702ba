using System.Globalization;
using Yadokari.Core;
using Yadokari.Networks;

namespace Yadokari.Cli.Options;

/// <summary><c>--vsock PATH[,cid=N]</c>: sockets between guest and host.</summary>
internal static class VsockOption
{
    /// <summary>What the option takes, for help.</summary>
    public const string Shape = "PATH[,cid=N]";

    /// <summary>Reads what was given, if anything.</summary>
    /// <exception cref="UserErrorException">It names no path, or an address that no guest can have.</exception>
    public static VsockConfig? Parse(string? text)
    {
        const string word = ",cid=";
        if (text is null)
        {
            return null;
        }

        int comma = text.LastIndexOf(word, StringComparison.Ordinal);
        string path = comma < 0 ? text : text[..comma];
        if (path.Length == 0)
        {
            throw new UserErrorException("--vsock names no socket: give the path that it is to have, as in --vsock /tmp/guest.sock.");
        }

        if (comma < 0)
        {
            return new VsockConfig(path);
        }

        return uint.TryParse(text.AsSpan(comma + word.Length), NumberStyles.None, CultureInfo.InvariantCulture, out uint cid) && cid is >= VsockConfig.FirstCid and < uint.MaxValue
            ? new VsockConfig(path, cid)
            : throw new UserErrorException($"--vsock {text} gives the guest an address that it can't have: give {VsockConfig.FirstCid} to {uint.MaxValue - 1}, as in cid={VsockConfig.FirstCid}.");
    }
}
