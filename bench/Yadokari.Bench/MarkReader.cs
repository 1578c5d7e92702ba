using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Yadokari.Bench;

/// <summary>Reads the marks of the workload script in a console's output, with the host's time at which each arrived.</summary>
internal sealed class MarkReader(string name)
{
    private readonly StringBuilder _line = new();
    private readonly Queue<string> _last = new();
    private double _begin;
    private double _end;
    private long _hostBegin;
    private long _hostEnd;
    private double _rate;
    private readonly TaskCompletionSource _login = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private string _result = "";

    /// <summary>The last few lines, for the message about a run that failed.</summary>
    public string Tail => string.Join(" | ", _last.Where(static line => line.Length > 0).TakeLast(2));

    /// <summary>Completes when a line begins with a login prompt.</summary>
    public Task LoginPrompt => _login.Task;

    /// <summary>Processes the next piece of output; called with each as it arrives.</summary>
    public void Take(ReadOnlySpan<char> text)
    {
        var now = Stopwatch.GetTimestamp();
        foreach (var c in text)
        {
            if (c != '\n')
            {
                if (c >= ' ')
                    _line.Append(c);
                if (c == ' ' && _line.ToString().EndsWith(" login: ", StringComparison.Ordinal))
                    _login.TrySetResult();
                continue;
            }
            TakeLine(_line.ToString(), now);
            _line.Clear();
        }
    }

    /// <summary>The measurement.</summary>
    public Measurement ToMeasurement(bool isRate)
    {
        if (_hostEnd == 0)
            return Measurement.Failed(_hostBegin == 0 ? $"the workload did not begin: {Tail}" : $"the workload did not end: {Tail}");
        if (isRate && _rate <= 0)
            return Measurement.Failed($"the workload gave no rate: {Tail}");
        return new Measurement
        {
            Seconds = _end - _begin,
            HostSeconds = Stopwatch.GetElapsedTime(_hostBegin, _hostEnd).TotalSeconds,
            Rate = _rate,
            Result = _result,
        };
    }

    private void TakeLine(string line, long now)
    {
        if (_last.Count == 8)
            _last.Dequeue();
        _last.Enqueue(line);
        if (Mark(line, "@begin") is { } begin)
        {
            _begin = Number(begin);
            _hostBegin = now;
        }
        else if (Mark(line, "@end") is { } end)
        {
            _end = Number(end);
            _hostEnd = now;
        }
        else if (Mark(line, "@rate") is { } rate)
        {
            _rate = Number(rate.Split(' ')[0]);
        }
        else if (Mark(line, "@result") is { } result)
        {
            _result = result;
        }
    }

    // Firmware writes control sequences on the line before the first mark, so a mark may be anywhere in it.
    private string? Mark(string line, string mark)
    {
        var sought = $"{mark} {name} ";
        var at = line.IndexOf(sought, StringComparison.Ordinal);
        return at < 0 ? null : line[(at + sought.Length)..].Trim();
    }

    private static double Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? value : 0;
}
