using System.ComponentModel;
using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>A program of the host that is run for its result, never for its interaction.</summary>
/// <param name="name">What it is called, for sentences.</param>
/// <param name="path">Where it is.</param>
/// <param name="interrupted">Ends it, and whoever waits for it, by an <see cref="OperationCanceledException"/>.</param>
internal sealed class HostTool(string name, string path, CancellationToken interrupted)
{
    /// <summary>What came of a run.</summary>
    /// <param name="ExitCode">0 where it went well.</param>
    /// <param name="Output">Its standard output.</param>
    /// <param name="Errors">Its standard error.</param>
    public readonly record struct Outcome(int ExitCode, string Output, string Errors)
    {
        /// <summary>The last line that says what went wrong, for a sentence.</summary>
        public string Reason
        {
            get
            {
                string[] lines = Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
                string line = lines.FirstOrDefault(l => l.StartsWith("E: ", StringComparison.Ordinal)) ?? lines.LastOrDefault() ?? $"exit code {ExitCode}";
                return (line.StartsWith("E: ", StringComparison.Ordinal) ? line[3..] : line).TrimEnd('.');
            }
        }

        /// <summary>Whether it ran out of room on a disk.</summary>
        public bool DiskFull =>
            ExitCode != 0 && (Errors.Contains("No space left on device", StringComparison.Ordinal)
                || Errors.Contains("enough free space", StringComparison.Ordinal));
    }

    /// <summary>Where the user's programs are.</summary>
    public static string SearchPath =>
        Environment.GetEnvironmentVariable("PATH") is { Length: > 0 } path ? path : "/usr/bin:/bin";

    /// <summary>Finds a program in a search path.</summary>
    /// <exception cref="UserErrorException">It is not there.</exception>
    public static HostTool Find(string name, string searchPath, CancellationToken interrupted) => TryFind(name, searchPath, interrupted)
        ?? throw new UserErrorException(
            $"There is no {name} on this host, and the default guest is made of Debian's packages: give a kernel with --kernel and an initial RAM disk with --initrd.");

    /// <summary>Finds a program in a search path; null if it is not there.</summary>
    public static HostTool? TryFind(string name, string searchPath, CancellationToken interrupted)
    {
        foreach (string folder in searchPath.Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            string path = Path.Combine(folder, name);
            if (File.Exists(path))
            {
                return new HostTool(name, path, interrupted);
            }
        }

        return null;
    }

    /// <summary>Runs it to its end, in a folder, in the C locale, with no input.</summary>
    public Outcome Run(string folder, params ReadOnlySpan<string> arguments)
    {
        using Process process = Start(folder, arguments);
        using CancellationTokenRegistration end = interrupted.Register(process.Kill);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        interrupted.ThrowIfCancellationRequested();
        return new Outcome(process.ExitCode, output, errors.Result);
    }

    /// <summary>Runs it and gives its output to <paramref name="read"/> as it comes.</summary>
    public Outcome Stream(string folder, Action<Stream> read, params ReadOnlySpan<string> arguments)
    {
        using Process process = Start(folder, arguments);
        using CancellationTokenRegistration end = interrupted.Register(process.Kill);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        try
        {
            read(process.StandardOutput.BaseStream);
            process.StandardOutput.BaseStream.CopyTo(System.IO.Stream.Null);
        }
        catch
        {
            process.Kill();
            interrupted.ThrowIfCancellationRequested(); // What was read ended with the tool.
            throw;
        }

        process.WaitForExit();
        interrupted.ThrowIfCancellationRequested();
        return new Outcome(process.ExitCode, "", errors.Result);
    }

    private Process Start(string folder, ReadOnlySpan<string> arguments)
    {
        var start = new ProcessStartInfo(path)
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["LC_ALL"] = "C", ["DEBIAN_FRONTEND"] = "noninteractive" },
        };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        try
        {
            Process process = Process.Start(start)!;
            process.StandardInput.Close();
            return process;
        }
        catch (Win32Exception error)
        {
            throw new UserErrorException($"{name} can't be run ({error.Message.TrimEnd('.')}): mend it, or give --kernel and --initrd.");
        }
    }
}
