using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Bench;

/// <summary>Yadokari's translation engine.</summary>
/// <param name="way">The value of <c>--direct</c>; null for the default, which the table calls Yadokari.</param>
internal sealed class Yado(string command, GuestFiles files, string? way = null) : Guest(way ?? "Yadokari", files)
{
    /// <summary>The ways to run a guest's programs between which the default chooses.</summary>
    public static IReadOnlyList<string> Ways { get; } = ["off", "always"];

    /// <summary>Builds the command if necessary, so that no measured run includes that.</summary>
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

    protected override ProcessStartInfo SystemCommand(SystemImage image, string append, int cpus) => Command(
        image.Kernel, image.Initrd, append,
        [
            "--memory", "1G", "--cpus", $"{cpus}", "--disk", image.Disk + ",format=raw,snapshot", "--disk", image.Seed + ",format=raw,ro", "--disk", image.Data + ",format=raw,ro",
            "--net", "user,host-loopback",
        ]);

    protected override ProcessStartInfo Command(string kernel, string initrd, string append) => Command(kernel, initrd, append, ["--memory", "512M"]);

    private ProcessStartInfo Command(string kernel, string initrd, string append, string[] more)
    {
        var start = new ProcessStartInfo(command, ["run", "--kernel", kernel, "--initrd", initrd, "--append", append, "--engine", "translate", "--console", "stdio", .. more]);
        if (way != null)
        {
            start.ArgumentList.Add("--direct");
            start.ArgumentList.Add(way);
        }
        start.Environment["YADO_NO_BUILD"] = "1";
        return start;
    }
}
