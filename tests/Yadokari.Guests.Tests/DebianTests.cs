using System.Diagnostics;
using System.Text.Json;

namespace Yadokari.Guests.Tests;

/// <summary>
/// A stock Debian with systemd, made by <c>yado run debian</c> and looked at as users do. Its image is made once in the user's
/// cache; machines are in a folder that goes with the test.
/// </summary>
public sealed class DebianTests : IDisposable
{
    private readonly NamedMachines _machines = new();

    public void Dispose() => _machines.Dispose();

    [Fact]
    public void Debian_boots_without_a_failed_unit_takes_user_data_and_stops_by_the_button()
    {
        Guest.HostProgram("ssh");
        var data = Path.Combine(_machines.Folder, "user-data");
        File.WriteAllText(data,
            """
            #cloud-config
            hostname: crab
            write_files:
              - path: /etc/shell
                content: "borrowed\n"
            """);
        Assert.Equal((0, "box\n"), _machines.Run("run", "debian", "--name", "box", "--detach", "--user-data", data, "--memory", "768M", "--disk-size", "9G"));

        // As long as sshd does not answer, ssh waits; cloud-init's last stage is later.
        Assert.Equal((0, "status: done\n"), _machines.Run("ssh", "box", "--", "cloud-init status --wait | tail -1"));
        Assert.Equal((0, "running\n"), _machines.Run("ssh", "box", "--", "systemctl is-system-running --wait"));
        Assert.Equal((0, ""), _machines.Run("ssh", "box", "--", "systemctl --failed --no-legend"));
        // What ssh needs is there from boot to boot, whatever else starts it.
        Assert.Equal((0, "enabled\nenabled\nenabled\n"), _machines.Run("ssh", "box", "--", "systemctl is-enabled systemd-networkd systemd-resolved ssh"));
        // Nobody has talked to sshd but ssh.
        Assert.Equal((0, "0\n"), _machines.Run("ssh", "box", "--", "sudo journalctl -b -t sshd | grep -c kex_exchange_identification; true"));
        Assert.Equal((0, "crab borrowed debian root\n"), _machines.Run("ssh", "box", "--", "echo $(hostname) $(cat /etc/shell) $(whoami) $(sudo whoami)"));

        // Packages come from Debian's mirror, by the network that needs no rights.
        Assert.Equal((0, "Hello, world!\n"), _machines.Run("ssh", "box", "--", "(sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq hello) >/dev/null 2>&1; hello"));

        // The file system has grown to the disk, and what is copied comes back.
        Assert.True(long.Parse(_machines.Run("ssh", "box", "--", "df --output=size -B1 / | tail -1").Output) > (long)(8.3 * (1 << 30)));
        File.WriteAllBytes(Path.Combine(_machines.Folder, "there"), [.. Enumerable.Range(0, 300_000).Select(static i => (byte)(i * 13))]);
        Assert.Equal((0, ""), _machines.Run("cp", Path.Combine(_machines.Folder, "there"), "box:/tmp/there"));
        Assert.Equal((0, ""), _machines.Run("cp", "box:/tmp/there", Path.Combine(_machines.Folder, "back")));
        Assert.Equal(File.ReadAllBytes(Path.Combine(_machines.Folder, "there")), File.ReadAllBytes(Path.Combine(_machines.Folder, "back")));

        using (var list = JsonDocument.Parse(_machines.Run("ls", "--json").Output))
        {
            var machine = Assert.Single(list.RootElement.EnumerateArray());
            Assert.Equal(("box", "running", 9L << 30), (machine.GetProperty("name").GetString(), machine.GetProperty("state").GetString(), machine.GetProperty("disk").GetInt64()));
        }

        Assert.Contains("crab login: ", _machines.Run("logs", "box").Output);
        Assert.Equal((0, "box\n"), _machines.Run("stop", "box", "--time", "600"));
        Assert.Contains("Power down", _machines.Run("logs", "box").Output);
        Assert.Contains("stopped", _machines.Run("ls").Output);

        // What it wrote is there when it starts again, and a killed monitor's machine has stopped.
        Assert.Equal((0, "box\n"), _machines.Run("start", "box"));
        Assert.Equal((0, "borrowed\n"), _machines.Run("ssh", "box", "--", "cat /etc/shell"));
        _machines.KillMonitor();
        Assert.Contains("stopped", _machines.Run("ls").Output);
        Assert.Equal((0, "box\n"), _machines.Run("rm", "box"));
        Assert.Equal((0, ""), _machines.Run("ls", "-q"));
    }

    [Fact]
    public void The_password_that_is_shown_logs_in_on_the_console()
    {
        using var process = Process.Start(_machines.Program("run", "debian", "--memory", "768M", "--rm"))!;
        var guest = new GuestConsole(process);
        guest.WaitFor("debian login: ");
        var password = guest.Complaints.Split("password '")[1].Split('\'')[0];
        guest.Send("debian");
        guest.WaitFor("Password: ");
        guest.Send(password);
        guest.WaitFor("$ ");
        guest.Send("sudo poweroff");
        Assert.Equal(0, guest.WaitForEnd());
        Assert.Equal((0, ""), _machines.Run("ls", "-q"));
    }
}
