using Microsoft.Extensions.Logging;

namespace Yadokari.Host.Logs;

/// <summary>The log entries of a monitor.</summary>
internal static partial class LogEntries
{
    /// <summary>The guest is about to run for the first time.</summary>
    [LoggerMessage(1, LogLevel.Information, "the machine starts")]
    public static partial void MachineStarted(this ILogger log);

    /// <summary>The guest asked for a reset: a new machine takes its place.</summary>
    [LoggerMessage(2, LogLevel.Information, "the guest has reset the machine")]
    public static partial void MachineReset(this ILogger log);

    /// <summary>The run has ended.</summary>
    [LoggerMessage(3, LogLevel.Information, "the machine has ended with exit code {ExitCode}")]
    public static partial void MachineEnded(this ILogger log, int exitCode);

    /// <summary>Why the run ended, if not by power-off or by the user.</summary>
    [LoggerMessage(4, LogLevel.Error, "{Reason}")]
    public static partial void MachineFailed(this ILogger log, string reason);

    /// <summary>The power button was pressed.</summary>
    [LoggerMessage(5, LogLevel.Information, "the power button is pressed")]
    public static partial void PowerButtonPressed(this ILogger log);

    /// <summary>A request was answered.</summary>
    [LoggerMessage(7, LogLevel.Debug, "{Method} {Path} is answered with {Status}")]
    public static partial void RequestAnswered(this ILogger log, string method, string path, int status);

    /// <summary>A request was refused; it had no effect.</summary>
    [LoggerMessage(8, LogLevel.Information, "a request is refused with {Status}: {Detail}")]
    public static partial void RequestRefused(this ILogger log, int status, string detail);

    /// <summary>A request failed by an internal error of the monitor.</summary>
    [LoggerMessage(9, LogLevel.Error, "a request failed by an internal error")]
    public static partial void RequestFailed(this ILogger log, Exception error);

    /// <summary>A client that is attached to the console did not read its output and was disconnected.</summary>
    [LoggerMessage(10, LogLevel.Warning, "a client that is attached to the console does not read, and is disconnected")]
    public static partial void WatcherDropped(this ILogger log);

    /// <summary>The machine was paused or resumed.</summary>
    [LoggerMessage(11, LogLevel.Information, "the machine is {State}")]
    public static partial void MachineHeld(this ILogger log, string state);
}
