using System.ComponentModel;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Yadokari.Core;

namespace Yadokari.Cli.Instances;

/// <summary>The host's ssh and scp, told how to reach a machine: by a port of the loopback, with the user's key for machines.</summary>
internal static class SshTool
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(10); // A first boot on a busy host takes minutes.

    /// <summary>The options by which a machine is reached. Waits until its sshd answers.</summary>
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

        WaitForBanner(machine, port);
        return
        [
            portOption, $"{port}", "-i", SshKey.File, "-o", "IdentitiesOnly=yes", "-o", $"UserKnownHostsFile={machine.KnownHosts}", "-o", $"HostKeyAlias={machine.Name}",
            "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR",
        ];
    }

    /// <summary>Runs one with this process's terminal. Returns its exit code.</summary>
    /// <exception cref="UserErrorException">It is not there.</exception>
    public static int Run(string tool, IEnumerable<string> arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(tool, arguments))!;
            process.WaitForExit();
            return process.ExitCode;
        }
        catch (Win32Exception)
        {
            throw new UserErrorException($"There is no {tool} on this host: install openssh-client.");
        }
    }

    // A machine that boots has its port before its sshd.
    private static void WaitForBanner(MachineFolder machine, int port)
    {
        long began = Environment.TickCount64;
        while (true)
        {
            try
            {
                using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 5000 };
                socket.Connect(IPAddress.Loopback, port);
                byte[] banner = new byte[4];
                if (socket.Receive(banner) == banner.Length && banner.AsSpan().SequenceEqual("SSH-"u8))
                {
                    return;
                }
            }
            catch (SocketException)
            {
                // Nobody there yet.
            }

            if (!machine.IsRunning() || Environment.TickCount64 - began > s_patience.TotalMilliseconds)
            {
                throw new UserErrorException($"The sshd of {machine.Name} does not answer: 'yado logs {machine.Name}' shows what it is about.");
            }

            Thread.Sleep(200);
        }
    }
}
