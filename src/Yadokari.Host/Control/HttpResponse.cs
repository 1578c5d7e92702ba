using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Yadokari.Host.Control;

/// <summary>An answer. The connection ends with it, but for one that switches protocols.</summary>
/// <param name="Status">The status code.</param>
/// <param name="ContentType">The body's media type; null where there is no body.</param>
/// <param name="Body">The body; null where there is none, or where it follows until the connection ends.</param>
/// <param name="Headers">Further headers.</param>
internal sealed record HttpResponse(int Status, string? ContentType, byte[]? Body, params IReadOnlyList<(string Name, string Value)> Headers)
{
    // Quotes in sentences are not escaped: people read them, and none goes into a web page.
    private static readonly ControlJson s_readable = new(new JsonSerializerOptions(ControlJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    /// <summary>Done, and nothing to say.</summary>
    public static HttpResponse NoContent { get; } = new(204, null, null);

    /// <summary>A value as JSON.</summary>
    public static HttpResponse Json(JsonNode value) => new(200, "application/json", Encoding.UTF8.GetBytes(value.ToJsonString()));

    /// <summary>A refusal.</summary>
    public static HttpResponse Refusal(HttpError error) => new(
        error.Status,
        "application/problem+json",
        JsonSerializer.SerializeToUtf8Bytes(error.Body, s_readable.Problem),
        error.Allow is { } allow ? [("Allow", allow)] : error.Status == 426 ? [("Upgrade", ControlApi.ConsoleProtocol), ("Connection", "Upgrade, close")] : []);

    /// <summary>A status in words (RFC 9110, 15).</summary>
    public static string ReasonOf(int status) => status switch
    {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => throw new ArgumentOutOfRangeException(nameof(status)),
    };

    /// <summary>As it goes over the connection.</summary>
    /// <param name="withBody">False for an answer to HEAD, which says how long the body would be.</param>
    public byte[] ToBytes(bool withBody = true)
    {
        var head = new StringBuilder();
        head.Append(CultureInfo.InvariantCulture, $"HTTP/1.1 {Status} {ReasonOf(Status)}\r\n");
        if (ContentType is not null)
        {
            head.Append(CultureInfo.InvariantCulture, $"Content-Type: {ContentType}\r\n");
        }

        if (Body is not null)
        {
            head.Append(CultureInfo.InvariantCulture, $"Content-Length: {Body.Length}\r\n");
        }

        foreach ((string name, string value) in Headers)
        {
            head.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");
        }

        head.Append(Headers.Any(h => h.Name == "Connection") ? "\r\n" : "Connection: close\r\n\r\n");
        return [.. Encoding.ASCII.GetBytes(head.ToString()), .. withBody ? Body ?? [] : []];
    }
}
