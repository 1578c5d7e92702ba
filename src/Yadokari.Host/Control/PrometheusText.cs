using System.Globalization;
using System.Text;

namespace Yadokari.Host.Control;

/// <summary>
/// Writes metrics in Prometheus's text exposition format, version 0.0.4. Instrument names become metric names: <c>yadokari.machine.memory</c>
/// in bytes becomes <c>yadokari_machine_memory_bytes</c>.
/// </summary>
internal sealed class PrometheusText
{
    /// <summary>The media type.</summary>
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    private readonly StringBuilder _text = new();

    /// <summary>The text so far.</summary>
    public byte[] ToBytes() => Encoding.UTF8.GetBytes(_text.ToString());

    /// <summary>Begins a metric; its samples follow.</summary>
    /// <param name="name">The instrument's name.</param>
    /// <param name="unit">The unit, such as <c>bytes</c>; empty for none.</param>
    /// <param name="isCounter">Whether the metric is a counter rather than a gauge.</param>
    /// <param name="description">The help text.</param>
    /// <returns>The metric's name, for its samples.</returns>
    public string Begin(string name, string unit, bool isCounter, string description)
    {
        string metric = name.Replace('.', '_') + (unit.Length > 0 ? "_" + unit : "") + (isCounter ? "_total" : "");
        _text.Append(CultureInfo.InvariantCulture, $"# HELP {metric} {Escaped(description, quotes: false)}\n# TYPE {metric} {(isCounter ? "counter" : "gauge")}\n");
        return metric;
    }

    /// <summary>Adds a sample.</summary>
    public void Add(string metric, double value, ReadOnlySpan<KeyValuePair<string, object?>> labels)
    {
        _text.Append(metric);
        for (int i = 0; i < labels.Length; i++)
        {
            _text.Append(CultureInfo.InvariantCulture, $"{(i == 0 ? "{" : ",")}{labels[i].Key}=\"{Escaped(labels[i].Value?.ToString() ?? "", quotes: true)}\"");
        }

        _text.Append(CultureInfo.InvariantCulture, $"{(labels.Length > 0 ? "}" : "")} {value:R}\n");
    }

    private static string Escaped(string text, bool quotes)
    {
        string escaped = text.Replace("\\", @"\\", StringComparison.Ordinal).Replace("\n", @"\n", StringComparison.Ordinal);
        return quotes ? escaped.Replace("\"", "\\\"", StringComparison.Ordinal) : escaped;
    }
}
