using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Yadokari.Host.Control;

/// <summary>A response. The connection is closed after it, unless it switches protocols.</summary>
/// <param name="Status">The status code.</param>
/// <param name="ContentType">The body's media type; null where there is no body.</param>
/// <param name="Body">The body; null if there is none, or if it is streamed until the connection is closed.</param>
/// <param name="Headers">Additional headers.</param>
internal sealed record HttpResponse(int Status, string? ContentType, byte[]? Body, params IReadOnlyList<(string Name, string Value)> Headers)
{
    // Quotes in sentences are not escaped: people read them, and no web page contains them.
    private static readonly ControlJson s_readable = new(new JsonSerializerOptions(ControlJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    /// <summary>Success without a body.</summary>
    public static HttpResponse NoContent { get; } = new(204, null, null);

    /// <summary>Success with a value as JSON.</summary>
    public static HttpResponse Json(JsonNode value) => new(200, "application/json", Encoding.UTF8.GetBytes(value.ToJsonString()));

    /// <summary>Refuses a request.</summary>
    public static HttpResponse Refusal(HttpError error) => new(
        error.Status,
        "application/problem+json",
        JsonSerializer.SerializeToUtf8Bytes(error.Body, s_readable.Problem),
        error.Allow is { } allow ? [("Allow", allow)] : error.Status == 426 ? [("Upgrade", ControlApi.ConsoleProtocol), ("Connection", "Upgrade, close")] : []);

    /// <summary>The reason phrase of a status code (RFC 9110, 15).</summary>
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

    /// <summary>The bytes to send.</summary>
    /// <param name="withBody">False for a response to HEAD: the headers still give the length of the body.</param>
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
