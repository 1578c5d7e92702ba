namespace Yadokari.Host.Control;

/// <summary>The start line and the headers of a message (RFC 9112, 2.1).</summary>
/// <param name="StartLine">Without its line end.</param>
/// <param name="Headers">By name, in any case. Of headers that came more than once the values are joined by commas (RFC 9110, 5.3).</param>
internal sealed record HttpHead(string StartLine, IReadOnlyDictionary<string, string> Headers)
{
    /// <summary>Whether a header that lists words has one of them, in any case.</summary>
    public bool Lists(string header, string word) => Headers.TryGetValue(header, out string? value)
        && value.Split(',', StringSplitOptions.TrimEntries).Contains(word, StringComparer.OrdinalIgnoreCase);
}

/// <summary>A request, whole.</summary>
/// <param name="Method">Such as <c>GET</c>.</param>
/// <param name="Path">Begins with a slash.</param>
/// <param name="Head">Start line and headers.</param>
/// <param name="Body">Empty where there is none.</param>
internal sealed record HttpRequest(string Method, string Path, HttpHead Head, byte[] Body)
{
    /// <summary>Whether the client wants to speak another protocol on this connection (RFC 9110, 7.8).</summary>
    public bool Upgrades(string protocol) => Head.Lists("Connection", "upgrade") && Head.Lists("Upgrade", protocol);
}
