namespace Yadokari.Host.Control;

/// <summary>The start line and the headers of a message (RFC 9112, 2.1).</summary>
/// <param name="StartLine">Without its line end.</param>
/// <param name="Headers">Values by name, ignoring case. The values of a repeated header are joined by commas (RFC 9110, 5.3).</param>
internal sealed record HttpHead(string StartLine, IReadOnlyDictionary<string, string> Headers)
{
    /// <summary>Whether the comma-separated list in a header contains a word, ignoring case.</summary>
    public bool Lists(string header, string word) => Headers.TryGetValue(header, out string? value)
        && value.Split(',', StringSplitOptions.TrimEntries).Contains(word, StringComparer.OrdinalIgnoreCase);
}

/// <summary>A complete request.</summary>
/// <param name="Method">The method, such as <c>GET</c>.</param>
/// <param name="Path">The path; begins with a slash.</param>
/// <param name="Head">Start line and headers.</param>
/// <param name="Body">The body; empty if there is none.</param>
internal sealed record HttpRequest(string Method, string Path, HttpHead Head, byte[] Body)
{
    /// <summary>Whether the client asks to upgrade this connection to a protocol (RFC 9110, 7.8).</summary>
    public bool Upgrades(string protocol) => Head.Lists("Connection", "upgrade") && Head.Lists("Upgrade", protocol);
}
