namespace Yadokari.Host;

/// <summary>Formats parts of messages for users.</summary>
public static class UserText
{
    /// <summary>A value in a sentence; in quotes if it is empty or white space.</summary>
    public static string Shown(string value) => string.IsNullOrWhiteSpace(value) ? $"'{value}'" : value;

    /// <summary>A message for a terminal: question marks replace the control characters that it may quote.</summary>
    /// <param name="message">The message.</param>
    /// <param name="kept">Control characters that stay.</param>
    public static string Printable(string message, string kept = "\n\t") => string.Concat(message.Select(c => char.IsControl(c) && !kept.Contains(c, StringComparison.Ordinal) ? '?' : c));

    /// <summary>The message for an unexpected exception.</summary>
    public static string Fault(Exception error) => $"internal error: {error}";
}
