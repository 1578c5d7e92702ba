using System.Text;
using Yadokari.Core.Configuration;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// The user's text for a module of a Multiboot kernel: a file and its arguments. By convention a module's command line begins with the file's
/// name; a name with a blank is in double quotes, as GRUB 2 writes it.
/// </summary>
/// <param name="Path">The file.</param>
/// <param name="Arguments">The arguments, with the blank before them; or empty.</param>
public readonly record struct ModuleText(string Path, string Arguments)
{
    /// <summary>The module's command line.</summary>
    public string CommandLine => Quote(System.IO.Path.GetFileName(Path)) + Arguments;

    /// <summary>
    /// Parses a path and, after a blank, arguments. A path with a blank must be in double quotes, within which a backslash escapes a quote or
    /// another backslash.
    /// </summary>
    /// <exception cref="ConfigurationException">The text has no path, or a quote is not closed.</exception>
    public static ModuleText Parse(string text)
    {
        if (!text.StartsWith('"'))
        {
            int space = text.IndexOf(' ');
            return space < 0 ? Of(text, "") : Of(text[..space], text[space..]);
        }

        var path = new StringBuilder();
        for (int i = 1; i < text.Length; i++)
        {
            if (text[i] == '"')
            {
                string rest = text[(i + 1)..];
                return rest.Length == 0 || rest[0] == ' '
                    ? Of(path.ToString(), rest)
                    : throw new ConfigurationException("", $"The module '{text}' has no blank after the quoted path", "put a blank between path and arguments");
            }

            i += text[i] == '\\' && i + 1 < text.Length ? 1 : 0;
            path.Append(text[i]);
        }

        throw new ConfigurationException("", $"The module '{text}' has an open quote", "close it, as in '\"FILE\" TEXT'");
    }

    /// <summary>Quotes a name as the first word of a command line (GRUB 2, grub-core/lib/cmdline.c).</summary>
    public static string Quote(string name)
    {
        string escaped = string.Concat(name.Select(c => c is '\\' or '\'' or '"' ? $"\\{c}" : $"{c}"));
        return name.Contains(' ') ? $"\"{escaped}\"" : escaped;
    }

    private static ModuleText Of(string path, string arguments) => path.Length > 0
        ? new ModuleText(path, arguments)
        : throw new ConfigurationException("", "A module names no file", "give the path of one, then arguments for it if it takes any, as in 'FILE TEXT'");
}
