using System.Diagnostics;
using System.Text.Json;

namespace Yadokari.Guests.Tests;

/// <summary>
/// A stock Debian with systemd, made by <c>yado run debian</c> and looked at as users do. Its image is made once in the user's
/// cache; machines are in a folder that goes with the test.
/// </summary>
public sealed class DebianTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(15);

    private readonly string _folder = Directory.CreateTempSubdirectory("yado-debian-").FullName;

    public DebianTests()
    {
        Assert.SkipWhen(Guest.OnQemu, "The commands are yado's.");
        Guest.HostProgram("mke2fs");
        Guest.HostProgram("apt-get");
    }

    public void Dispose()
    {
        foreach (var name in Yado("ls", "-q").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            Yado("rm", "-f", name);
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void DebianBootsWithoutAFailedUnitTakesUserDataAndStopsByTheButton()
    {
        Guest.HostProgram("ssh");
        var data = Path.Combine(_folder, "user-data");
        File.WriteAllText(data,
            """
            #cloud-config
            hostname: crab
            write_files:
              - path: /etc/shell
                content: "borrowed\n"
            """);
        Assert.Equal((0, "box\n"), Run("run", "debian", "--name", "box", "--detach", "--user-data", data, "--memory", "768M", "--disk-size", "9G"));

        // As long as sshd does not answer, ssh waits; cloud-init's last stage is later.
        Assert.Equal((0, "status: done\n"), Run("ssh", "box", "--", "cloud-init status --wait | tail -1"));
        Assert.Equal((0, "running\n"), Run("ssh", "box", "--", "systemctl is-system-running --wait"));
        Assert.Equal((0, ""), Run("ssh", "box", "--", "systemctl --failed --no-legend"));
        Assert.Equal((0, "crab borrowed debian root\n"), Run("ssh", "box", "--", "echo $(hostname) $(cat /etc/shell) $(whoami) $(sudo whoami)"));

        // Packages come from Debian's mirror, by the network that needs no rights.
        Assert.Equal((0, "Hello, world!\n"), Run("ssh", "box", "--", "(sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq hello) >/dev/null 2>&1; hello"));

        // The file system has grown to the disk, and what is copied comes back.
        Assert.True(long.Parse(Run("ssh", "box", "--", "df --output=size -B1 / | tail -1").Output) > (long)(8.3 * (1 << 30)));
        File.WriteAllBytes(Path.Combine(_folder, "there"), [.. Enumerable.Range(0, 300_000).Select(static i => (byte)(i * 13))]);
        Assert.Equal((0, ""), Run("cp", Path.Combine(_folder, "there"), "box:/tmp/there"));
        Assert.Equal((0, ""), Run("cp", "box:/tmp/there", Path.Combine(_folder, "back")));
        Assert.Equal(File.ReadAllBytes(Path.Combine(_folder, "there")), File.ReadAllBytes(Path.Combine(_folder, "back")));

        using (var list = JsonDocument.Parse(Run("ls", "--json").Output))
        {
            var machine = Assert.Single(list.RootElement.EnumerateArray());
            Assert.Equal(("box", "running", 9L << 30), (machine.GetProperty("name").GetString(), machine.GetProperty("state").GetString(), machine.GetProperty("disk").GetInt64()));
        }

        Assert.Contains("crab login: ", Run("logs", "box").Output);
        Assert.Equal((0, "box\n"), Run("stop", "box", "--time", "600"));
        Assert.Contains("Power down", Run("logs", "box").Output);
        Assert.Contains("stopped", Run("ls").Output);

        // What it wrote is there when it starts again, and a killed monitor's machine has stopped.
        Assert.Equal((0, "box\n"), Run("start", "box"));
        Assert.Equal((0, "borrowed\n"), Run("ssh", "box", "--", "cat /etc/shell"));
        using (var list = JsonDocument.Parse(Run("ls", "--json").Output))
        using (var monitor = Process.GetProcessById(list.RootElement[0].GetProperty("process").GetInt32()))
        {
            monitor.Kill();
            monitor.WaitForExit();
        }

        Assert.Contains("stopped", Run("ls").Output);
        Assert.Equal((0, "box\n"), Run("rm", "box"));
        Assert.Equal((0, ""), Run("ls", "-q"));
    }

    [Fact]
    public void ThePasswordThatIsShownLogsInOnTheConsole()
    {
        using var process = Process.Start(Program("run", "debian", "--memory", "768M", "--rm"))!;
        var guest = new GuestConsole(process);
        guest.WaitFor("debian login: ");
        var password = guest.Complaints.Split("password '")[1].Split('\'')[0];
        guest.Send("debian");
        guest.WaitFor("Password: ");
        guest.Send(password);
        guest.WaitFor("$ ");
        guest.Send("sudo poweroff");
        Assert.Equal(0, guest.WaitForEnd());
        Assert.Equal((0, ""), Run("ls", "-q"));
    }

    private (int Code, string Output) Run(params string[] arguments)
    {
        var (code, output, errors) = Yado(arguments);
        Assert.SkipWhen(code == 2 && errors.Contains("can't be fetched", StringComparison.Ordinal), $"No guest to boot: {errors}");
        if (code != 0)
            Assert.Fail($"yado {string.Join(' ', arguments)} ended with {code}: {errors}\n{string.Join('\n', Yado("logs", "box").Output.Split('\n').TakeLast(30))}");
        return (code, output);
    }

    private (int Code, string Output, string Errors) Yado(params string[] arguments)
    {
        using var process = Process.Start(Program(arguments))!;
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
            process.Kill(entireProcessTree: true);
        return (process.ExitCode, output.Result, errors.Result);
    }

    private ProcessStartInfo Program(params string[] arguments) => new(Guest.Yado, arguments)
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        Environment = { ["XDG_DATA_HOME"] = _folder },
    };
}
