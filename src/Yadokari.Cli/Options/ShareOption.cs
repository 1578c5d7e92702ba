using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Machines;

namespace Yadokari.Cli.Options;

/// <summary><c>--share SOURCE:PLACE[,ro]</c>: folders of the host that appear in the guest.</summary>
internal static class ShareOption
{
    /// <summary>What the option takes, for help.</summary>
    public const string Shape = "FOLDER:PLACE[,ro]";

    /// <summary>Reads what was given.</summary>
    /// <exception cref="UserErrorException">It names no folder, or no place.</exception>
    public static ShareConfig Parse(string text)
    {
        const string settings = ",ro";
        bool readOnly = text.EndsWith(settings, StringComparison.Ordinal);
        string both = readOnly ? text[..^settings.Length] : text;
        int colon = both.LastIndexOf(':'); // A place has none; a folder may.
        if (colon <= 0 || colon == both.Length - 1)
        {
            throw new UserErrorException($"--share {UserText.Shown(text)} does not say which folder is to appear where: give {Shape}, as in --share /home/me/work:/work.");
        }

        string place = both[(colon + 1)..];
        return place[0] == '/' && place.All(c => !char.IsWhiteSpace(c) && !char.IsControl(c) && c is not (',' or '"' or '\\'))
            ? new ShareConfig(both[..colon], place, readOnly)
            : throw new UserErrorException($"--share {text} names no place in the guest: give a path that begins with a slash, without spaces, commas and quotes, and after it at most ',ro'.");
    }
}
