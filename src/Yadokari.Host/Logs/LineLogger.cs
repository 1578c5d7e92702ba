using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Yadokari.Host.Logs;

/// <summary>Writes log entries, a line each, as text or as a JSON object. Any thread.</summary>
/// <param name="least">The lowest level that is written; <see cref="LogLevel.None"/> for nothing.</param>
/// <param name="json">Whether lines are JSON: <c>time</c>, <c>level</c>, <c>event</c>, <c>message</c>, the message's values by their names, and <c>exception</c>.</param>
/// <param name="output">Receives each line in one call; not owned.</param>
/// <param name="lineEnd">Returns the line terminator, which on a terminal changes with its mode.</param>
/// <param name="time">The clock.</param>
internal sealed class LineLogger(LogLevel least, bool json, TextWriter output, Func<string> lineEnd, TimeProvider time) : ILogger
{
    private const string Template = "{OriginalFormat}"; // The logging library's name for the message template.

    private static readonly JsonWriterOptions s_options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => logLevel >= least && logLevel != LogLevel.None;

    /// <inheritdoc/>
    /// <remarks>Scopes are ignored.</remarks>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            string message = formatter(state, exception);
            output.Write((json ? Json(logLevel, eventId, state as IReadOnlyList<KeyValuePair<string, object?>>, message, exception) : Text(logLevel, message, exception)) + lineEnd());
        }
    }

    private static string NameOf(LogLevel level) => level switch
    {
        LogLevel.Information => "info",
        _ => level.ToString().ToLowerInvariant(),
    };

    // An entry has one line: control characters, which a guest or a client may have sent, are replaced.
    private string Text(LogLevel level, string message, Exception? exception)
    {
        string text = exception is null ? message : $"{message}: {exception}";
        string line = UserText.Printable(text.ReplaceLineEndings(" "), kept: "");
        return string.Create(CultureInfo.InvariantCulture, $"yado: {time.GetUtcNow():yyyy-MM-ddTHH:mm:ss.fffZ} {NameOf(level)}: {line}");
    }

    private string Json(LogLevel level, EventId id, IReadOnlyList<KeyValuePair<string, object?>>? values, string message, Exception? exception)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, s_options))
        {
            writer.WriteStartObject();
            writer.WriteString("time", time.GetUtcNow());
            writer.WriteString("level", NameOf(level));
            writer.WriteString("event", id.Name);
            writer.WriteString("message", message);
            foreach ((string name, object? value) in values ?? [])
            {
                if (name == Template)
                {
                    continue;
                }

                writer.WritePropertyName(JsonNamingPolicy.CamelCase.ConvertName(name));
                switch (value)
                {
                    case null:
                        writer.WriteNullValue();
                        break;
                    case int number:
                        writer.WriteNumberValue(number);
                        break;
                    case ulong number:
                        writer.WriteNumberValue(number);
                        break;
                    default:
                        writer.WriteStringValue(Convert.ToString(value, CultureInfo.InvariantCulture));
                        break;
                }
            }

            if (exception is not null)
            {
                writer.WriteString("exception", exception.ToString());
            }

            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }
}
