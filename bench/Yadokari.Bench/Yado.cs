using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Bench;

/// <summary>Yadokari's translation engine.</summary>
internal sealed class Yado(string command, GuestFiles files) : Guest("Yadokari", files)
{
    /// <summary>Builds the command if need be, so that no measured run does.</summary>
    /// <exception cref="UserErrorException">It does not build or start.</exception>
    public void Prepare()
    {
        if (!File.Exists(command))
            throw new UserErrorException($"There is no {command} to measure; name it with --yado, or leave it out with --without yadokari.");
        using var process = Process.Start(new ProcessStartInfo(command, ["--help"]) { RedirectStandardOutput = true })!;
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new UserErrorException(
                $"{command} --help ended with exit code {process.ExitCode}; mend the build first, or leave Yadokari out with --without yadokari.");
        }
    }

    protected override ProcessStartInfo Command(string kernel, string initrd, string append)
    {
        var start = new ProcessStartInfo(
            command,
            [
                "run", "--kernel", kernel, "--initrd", initrd, "--append", append,
                "--memory", "512M", "--engine", "translate", "--console", "stdio",
            ]);
        start.Environment["YADO_NO_BUILD"] = "1";
        return start;
    }
}
