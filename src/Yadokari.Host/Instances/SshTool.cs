using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using Yadokari.Core;

namespace Yadokari.Host.Instances;

/// <summary>
/// The host's ssh and scp, told how to reach a machine: by a port of the loopback, with the user's key for machines. The first call leaves a
/// connection behind which the next ones go through (ssh_config(5), ControlMaster): making one costs the guest a second. It ends with the
/// machine, or when it was idle for a minute.
/// </summary>
public static class SshTool
{
    // A first boot on a busy host takes minutes.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(10);

    // What ssh says where the other end is not there yet, or lets nobody in yet (pam_nologin(8)).
    private static readonly string[] s_early =
        ["Connection refused", "Connection reset", "Connection closed", "timed out", "kex_exchange_identification", "System is booting up"];

    // ssh makes the socket under a longer name first; sun_path of unix(7) has 108 bytes.
    private const int LongestControlPath = 90;

    /// <summary>The options by which a machine is reached. Waits until its sshd takes a connection.</summary>
    /// <exception cref="UserErrorException">It does not run, or can't be reached.</exception>
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
        bool shared = Encoding.UTF8.GetByteCount(control) <= LongestControlPath;
        string[] common =
        [
            "-i", SshKey.File, "-o", "IdentitiesOnly=yes", "-o", $"UserKnownHostsFile={Quoted(machine.KnownHosts)}", "-o", $"HostKeyAlias={machine.Name}",
            "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR", "-o", $"ControlPath={(shared ? Quoted(control) : "none")}",
        ];
        Connect(machine, shared ? control : null, ["-p", $"{port}", .. common, $"{CloudSeed.User}@127.0.0.1"]);
        return [portOption, $"{port}", .. common];
    }

    /// <summary>Runs one with this process's terminal. Returns its exit code.</summary>
    /// <exception cref="UserErrorException">It is not there.</exception>
    public static int Run(string tool, IEnumerable<string> arguments)
    {
        using Process process = Start(new ProcessStartInfo(tool, arguments));
        process.WaitForExit();
        return process.ExitCode;
    }

    // A machine that boots has its port before its sshd. Who looks for that by a connection of another kind than ssh's leaves a complaint in the guest's log.
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
            if (code == 0 || !IsEarly(errors))
            {
                return; // What else is wrong the command itself will say.
            }

            if (!machine.IsRunning() || Environment.TickCount64 - began > s_patience.TotalMilliseconds)
            {
                throw new UserErrorException($"The sshd of {machine.Name} does not answer: 'yado logs {machine.Name}' shows what it is about.");
            }

            Thread.Sleep(200);
        }
    }

    // Of a connection that the other end closes before it said anything ssh says nothing at this log level.
    private static bool IsEarly(string errors) => string.IsNullOrWhiteSpace(errors) || s_early.Any(e => errors.Contains(e, StringComparison.Ordinal));

    // The connection in the background may keep the output open: it is read to its end only of one that failed.
    private static (int ExitCode, string Errors) Ask(IEnumerable<string> arguments)
    {
        using Process process = Start(new ProcessStartInfo("ssh", arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true });
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        return (process.ExitCode, process.ExitCode == 0 ? "" : errors.Result);
    }

    // A path in an option's value: ssh splits those at spaces, and has % for its own.
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
