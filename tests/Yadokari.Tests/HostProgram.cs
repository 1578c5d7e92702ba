using System.Diagnostics;

namespace Yadokari.Tests;

/// <summary>A program of the host's.</summary>
internal static class HostProgram
{
    // No program takes so long that works, however slow the host: it only guards against hangs.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(5);

    /// <summary>Runs one to its end, and returns its exit code and what it wrote.</summary>
    public static (int Code, string Output, string Errors) Run(string program, IEnumerable<string> arguments, string? folder = null)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder ?? "",
        })!;
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        if (!Task.WaitAll([output, errors], s_patience))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} did not end within {s_patience.TotalMinutes} minutes.\n{output.Result}\n{errors.Result}");
        }

        process.WaitForExit();
        return (process.ExitCode, output.Result, errors.Result);
    }
}
