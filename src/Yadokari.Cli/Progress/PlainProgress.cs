using System.Globalization;
using Yadokari.Host;

namespace Yadokari.Cli.Progress;

/// <summary>
/// Writes progress as plain lines, for logs: one when a step begins, and one every ten seconds with the completed part, the detail and the
/// elapsed time.
/// </summary>
internal sealed class PlainProgress : IProgressReport, IDisposable
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(10);

    private readonly Lock _lock = new();
    private readonly TextWriter _output;
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private string? _step;
    private string? _detail;
    private double? _done;
    private long _began;

    /// <summary>Creates a report without a step.</summary>
    /// <param name="output">Receives the lines; not owned.</param>
    /// <param name="time">The clock.</param>
    public PlainProgress(TextWriter output, TimeProvider time)
    {
        _output = output;
        _time = time;
        _timer = time.CreateTimer(_ => Show(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <inheritdoc/>
    public void Step(string what)
    {
        lock (_lock)
        {
            (_step, _detail, _done) = (what, null, null);
            _began = _time.GetTimestamp();
            _output.WriteLine($"yado: {what}");
            _timer.Change(s_interval, Timeout.InfiniteTimeSpan);
        }
    }

    /// <inheritdoc/>
    public void Fraction(double done)
    {
        lock (_lock)
        {
            _done = done;
        }
    }

    /// <inheritdoc/>
    public void Detail(string what)
    {
        lock (_lock)
        {
            _detail = what;
        }
    }

    /// <summary>Stops writing lines.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _step = null;
            _timer.Dispose();
        }
    }

    private void Show()
    {
        lock (_lock)
        {
            if (_step is null)
            {
                return; // Disposed while this waited for the lock.
            }

            TimeSpan lasted = _time.GetElapsedTime(_began);
            string done = _done is { } part ? string.Create(CultureInfo.InvariantCulture, $"{part * 100:F0} %") : "";
            string at = string.Join(", ", ((ReadOnlySpan<string?>)[done, _detail]).ToArray().Where(w => !string.IsNullOrEmpty(w)));
            _output.WriteLine($"yado: {_step}{(at.Length > 0 ? ": " : "")}{at} ({(int)lasted.TotalMinutes}:{lasted.Seconds:D2})");
            _timer.Change(s_interval, Timeout.InfiniteTimeSpan);
        }
    }
}
