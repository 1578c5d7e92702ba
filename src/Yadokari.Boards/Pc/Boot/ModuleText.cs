using System.Text;
using Yadokari.Core.Configuration;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// What names a module of a Multiboot kernel: a file, and the arguments it comes with. By custom a command line begins with the file's name;
/// one that has a blank stands in double quotes there, as GRUB 2 writes it.
/// </summary>
/// <param name="Path">The file.</param>
/// <param name="Arguments">With the blank before them; or empty.</param>
public readonly record struct ModuleText(string Path, string Arguments)
{
    /// <summary>The module's command line.</summary>
    public string CommandLine => Quote(System.IO.Path.GetFileName(Path)) + Arguments;

    /// <summary>
    /// Reads a path and, after a blank, arguments. A path that itself has a blank stands in double quotes, within which a backslash keeps a
    /// quote or another backslash from its meaning.
    /// </summary>
    /// <exception cref="ConfigurationException">It names no file.</exception>
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
                    : throw new ConfigurationException("", $"The module '{text}' has no blank behind the quoted path", "put a blank between them");
            }

            i += text[i] == '\\' && i + 1 < text.Length ? 1 : 0;
            path.Append(text[i]);
        }

        throw new ConfigurationException("", $"The module '{text}' has a quote that does not end", "give '\"FILE\" TEXT'");
    }

    /// <summary>A name as the first word of a command line (GRUB 2, grub-core/lib/cmdline.c).</summary>
    public static string Quote(string name)
    {
        string escaped = string.Concat(name.Select(c => c is '\\' or '\'' or '"' ? $"\\{c}" : $"{c}"));
        return name.Contains(' ') ? $"\"{escaped}\"" : escaped;
    }

    private static ModuleText Of(string path, string arguments) => path.Length > 0
        ? new ModuleText(path, arguments)
        : throw new ConfigurationException("", "A module names no file", "give the path of one, then arguments for it if it takes any, as in 'FILE TEXT'");
}
