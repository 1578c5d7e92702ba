using System.ComponentModel;
using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>A program of the host that runs without interaction, for its output.</summary>
/// <param name="name">Its name in messages.</param>
/// <param name="path">Path of the program.</param>
/// <param name="interrupted">Cancelling kills the program; the running call then throws an <see cref="OperationCanceledException"/>.</param>
internal sealed class HostTool(string name, string path, CancellationToken interrupted)
{
    /// <summary>The result of a run.</summary>
    /// <param name="ExitCode">The exit code: 0 for success.</param>
    /// <param name="Output">Standard output.</param>
    /// <param name="Errors">Standard error.</param>
    public readonly record struct Outcome(int ExitCode, string Output, string Errors)
    {
        /// <summary>The line of standard error that names the error, for messages.</summary>
        public string Reason
        {
            get
            {
                string[] lines = Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
                string line = lines.FirstOrDefault(l => l.StartsWith("E: ", StringComparison.Ordinal)) ?? lines.LastOrDefault() ?? $"exit code {ExitCode}";
                return (line.StartsWith("E: ", StringComparison.Ordinal) ? line[3..] : line).TrimEnd('.');
            }
        }

        /// <summary>Whether the program failed because a disk was full.</summary>
        public bool DiskFull =>
            ExitCode != 0 && (Errors.Contains("No space left on device", StringComparison.Ordinal)
                || Errors.Contains("enough free space", StringComparison.Ordinal));
    }

    /// <summary>The user's search path for programs.</summary>
    public static string SearchPath =>
        Environment.GetEnvironmentVariable("PATH") is { Length: > 0 } path ? path : "/usr/bin:/bin";

    /// <summary>Finds a program in a search path.</summary>
    /// <exception cref="UserErrorException">The program is not there.</exception>
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

    /// <summary>Runs the program to its end, in a folder, in the C locale, with empty input.</summary>
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

    /// <summary>Runs the program and passes its output to <paramref name="read"/> while it runs.</summary>
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
            interrupted.ThrowIfCancellationRequested(); // A killed tool's output ends early: the result must not be used.
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
            throw new UserErrorException($"{name} can't be run ({error.Message.TrimEnd('.')}): reinstall it, or give --kernel and --initrd.");
        }
    }
}
