using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using Yadokari.Core;

namespace Yadokari.Host.Instances;

/// <summary>
/// Runs the host's ssh and scp for a machine: by a forwarded loopback port, with the key for machines. The first call leaves a connection open
/// that later calls share (ssh_config(5), ControlMaster), because a new connection costs the guest a second. It closes with the machine, or
/// after a minute without use.
/// </summary>
public static class SshTool
{
    // A first boot on a busy host takes minutes.
    private static readonly TimeSpan s_connectTimeout = TimeSpan.FromMinutes(10);

    // ssh's errors while sshd does not listen yet, or accepts no logins yet (pam_nologin(8)).
    private static readonly string[] s_bootErrors =
        ["Connection refused", "Connection reset", "Connection closed", "timed out", "kex_exchange_identification", "System is booting up"];

    // ssh first creates the socket with a longer temporary name; sun_path of unix(7) has 108 bytes.
    private const int MaxControlPath = 90;

    /// <summary>The ssh options for connecting to a machine. Waits until its sshd accepts a connection, up to ten minutes.</summary>
    /// <exception cref="UserErrorException">The machine does not run, or its sshd does not answer.</exception>
    public static string[] Options(MachineFolder machine, string portOption)
    {
        if (!machine.IsRunning())
        {
            throw new UserErrorException($"The machine {machine.Name} does not run: 'yado start {machine.Name}' starts it.");
        }

        if (machine.ReadProcess()?.SshPort is not { } port)
        {
            throw new UserErrorException($"The machine {machine.Name} has no port that leads to its sshd: 'yado console {machine.Name}' attaches to its console.");
        }

        string control = machine.SshControl(port);
        bool shared = Encoding.UTF8.GetByteCount(control) <= MaxControlPath;
        string[] common =
        [
            "-i", SshKey.File, "-o", "IdentitiesOnly=yes", "-o", $"UserKnownHostsFile={Quoted(machine.KnownHosts)}", "-o", $"HostKeyAlias={machine.Name}",
            "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR", "-o", $"ControlPath={(shared ? Quoted(control) : "none")}",
        ];
        Connect(machine, shared ? control : null, ["-p", $"{port}", .. common, $"{CloudSeed.User}@127.0.0.1"]);
        return [portOption, $"{port}", .. common];
    }

    /// <summary>Runs ssh or scp on this process's terminal. Returns its exit code.</summary>
    /// <exception cref="UserErrorException">The tool is not installed.</exception>
    public static int Run(string tool, IEnumerable<string> arguments)
    {
        using Process process = Start(new ProcessStartInfo(tool, arguments));
        process.WaitForExit();
        return process.ExitCode;
    }

    // While the machine boots, its forwarded port accepts connections before sshd does. Probing with a connection that does not speak the ssh protocol would leave an
    // error in the guest's log.
    private static void Connect(MachineFolder machine, string? control, string[] how)
    {
        if (control is not null && File.Exists(control) && Ask(["-O", "check", .. how]).ExitCode == 0)
        {
            return;
        }

        long began = Environment.TickCount64;
        string[] quiet = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=20"];
        while (true)
        {
            (int code, string errors) = control is null
                ? Ask([.. quiet, .. how, "true"])
                : Ask(["-M", "-N", "-f", "-o", "ControlPersist=60", .. quiet, .. how]);
            if (code == 0 || !IsBooting(errors))
            {
                return; // The command itself will report any other error.
            }

            if (!machine.IsRunning() || Environment.TickCount64 - began > s_connectTimeout.TotalMilliseconds)
            {
                throw new UserErrorException($"The sshd of {machine.Name} does not answer: 'yado logs {machine.Name}' shows what the guest does.");
            }

            Thread.Sleep(200);
        }
    }

    // At this log level ssh reports nothing for a connection that is closed before sshd sent its version.
    private static bool IsBooting(string errors) => string.IsNullOrWhiteSpace(errors) || s_bootErrors.Any(e => errors.Contains(e, StringComparison.Ordinal));

    // The background connection may keep standard error open, so it is read to its end only after a failure.
    private static (int ExitCode, string Errors) Ask(IEnumerable<string> arguments)
    {
        using Process process = Start(new ProcessStartInfo("ssh", arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true });
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        return (process.ExitCode, process.ExitCode == 0 ? "" : errors.Result);
    }

    // Quotes a path in an option's value: ssh splits values at spaces, and % introduces its tokens.
    private static string Quoted(string path) => $"\"{path.Replace("%", "%%", StringComparison.Ordinal)}\"";

    private static Process Start(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception)
        {
            throw new UserErrorException($"There is no {start.FileName} on this host: install openssh-client.");
        }
    }
}
