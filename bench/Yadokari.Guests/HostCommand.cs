using System.ComponentModel;
using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Guests;

/// <summary>Runs one of the host's programs to its end and takes what it prints.</summary>
internal static class HostCommand
{
    /// <summary>Runs <paramref name="program"/> and returns its standard output.</summary>
    /// <exception cref="UserErrorException">The program is missing (the message names its package) or failed.</exception>
    public static string Run(string program, string package, string folder, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder,
        };
        start.Environment["LC_ALL"] = "C";
        try
        {
            using var process = Process.Start(start)!;
            var complaints = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            if (process.ExitCode != 0)
            {
                throw new UserErrorException(
                    $"{program} failed with exit code {process.ExitCode}: {LastLine(complaints.Result)}; check the network and the free disk space, then try again.");
            }
            return output;
        }
        catch (Win32Exception)
        {
            throw new UserErrorException($"The program {program} is not on this host; install the Debian package {package} to build test guests.");
        }
    }

    private static string LastLine(string text) => text.Trim().Split('\n')[^1];
}
