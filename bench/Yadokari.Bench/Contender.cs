using System.Diagnostics;

namespace Yadokari.Bench;

/// <summary>A way to run workloads.</summary>
internal abstract class Contender(string name)
{
    // Only so that a hung machine does not block the other runs.
    private static readonly TimeSpan s_timeout = TimeSpan.FromMinutes(8);

    /// <summary>Its name in the table.</summary>
    public string Name { get; } = name;

    /// <summary>Runs one workload; returns null if this contender does not support it.</summary>
    /// <param name="workload">The workload.</param>
    /// <param name="percent">Size of the workload in percent of the full one.</param>
    public abstract Measurement? Run(Workload workload, int percent);

    /// <summary>Runs a command to its end and reads the marks in its output.</summary>
    protected static Measurement Run(Workload workload, ProcessStartInfo start)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        var marks = new MarkReader(workload.Name);
        var complaints = new MarkReader(workload.Name);
        var began = Stopwatch.GetTimestamp();
        using var process = Process.Start(start)!;
        var reading = Task.WhenAll(Pump(process.StandardOutput, marks), Pump(process.StandardError, complaints));
        if (workload == Workload.Login)
        {
            var login = marks.LoginPrompt.Wait(s_timeout) ? Stopwatch.GetElapsedTime(began).TotalSeconds : (double?)null;
            process.Kill(entireProcessTree: true);
            return login is { } seconds ? new Measurement { Seconds = seconds, HostSeconds = seconds } : Measurement.Failed($"no login prompt after {s_timeout.TotalSeconds:0} s: {marks.Tail}");
        }
        if (!process.WaitForExit(s_timeout))
        {
            process.Kill(entireProcessTree: true);
            return Measurement.Failed($"not done after {s_timeout.TotalSeconds:0} s: {marks.Tail}");
        }
        var wall = Stopwatch.GetElapsedTime(began).TotalSeconds;
        reading.Wait();
        if (process.ExitCode != 0)
            return Measurement.Failed($"exit code {process.ExitCode}: {(complaints.Tail.Length > 0 ? complaints.Tail : marks.Tail)}");
        return workload == Workload.Boot
            ? new Measurement { Seconds = wall, HostSeconds = wall }
            : marks.ToMeasurement(workload.IsRate);
    }

    private static async Task Pump(StreamReader from, MarkReader to)
    {
        var buffer = new char[4096];
        int count;
        while ((count = await from.ReadAsync(buffer)) > 0)
            to.Take(buffer.AsSpan(0, count));
    }
}
