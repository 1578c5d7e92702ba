using System.Text.RegularExpressions;
using Yadokari.Core;

namespace Yadokari.Host.Instances;

/// <summary>Checks and derives names of machines.</summary>
public static partial class MachineName
{
    private const int MaxLength = 60;

    /// <summary>Returns the name if it is valid.</summary>
    /// <exception cref="UserErrorException">The name is not valid.</exception>
    public static string Check(string name) => Shape().IsMatch(name) && name.Length <= MaxLength
        ? name
        : throw new UserErrorException($"The machine name {UserText.Shown(name)} is not valid: give up to {MaxLength} lower-case letters, digits, '_', '.' and '-', the first a letter or digit.");

    /// <summary>Derives a valid name from any text.</summary>
    public static string From(string text)
    {
        string name = string.Concat(text.ToLowerInvariant().Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_' ? c : '-')).TrimStart('-', '.', '_');
        return name.Length == 0 ? "machine" : name[..Math.Min(name.Length, MaxLength - 5)];
    }

    /// <summary>Converts a machine's name to a host name (RFC 1123, 2.1), which has no underscores and no hyphen at its end.</summary>
    public static string HostName(string name) => name.Replace('_', '-').Replace('.', '-').TrimEnd('-');

    /// <summary>The names that differ little from a mistyped one.</summary>
    public static string[] Near(string name, IEnumerable<string> names) =>
        [.. names.Where(n => Distance(n, name) <= Math.Max(2, name.Length / 2) || n.StartsWith(name, StringComparison.Ordinal) || name.StartsWith(n, StringComparison.Ordinal))
            .OrderBy(n => Distance(n, name)).Take(3)];

    // Levenshtein distance.
    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(change, Math.Min(row[j], row[j - 1]) + 1);
            }
        }

        return row[^1];
    }

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9_.-]*\z")]
    private static partial Regex Shape();
}
