using System.CommandLine;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Yadokari.Cli.Consoles;
using Yadokari.Linux;

namespace Yadokari.Cli.Instances;

/// <summary><c>yado console</c>: attaches to the console of a machine that runs.</summary>
internal static class ConsoleCommand
{
    private const string Help = "Ctrl-A x  leaves the machine to itself\r\nCtrl-A a  sends Ctrl-A to the guest\r\nCtrl-A h  shows this\r\n";

    /// <summary>The command, for the command line to put in its list.</summary>
    public static Command Create()
    {
        Argument<string> name = MachineArgument.One();
        var command = new Command("console", "Attaches to a machine's console; on a terminal, Ctrl-A x leaves it to itself again.") { name };
        command.SetAction(result => Attach(MachineFolder.Find(result.GetValue(name)!)));
        return command;
    }

    private static int Attach(MachineFolder machine)
    {
        using Socket socket = ControlClient.Ask(machine, "console");
        StandardStreams.Error.WriteLine($"{MachineRun.Greeting(machine, machine.ReadConfig()).Replace("ends it", "leaves it to itself", StringComparison.Ordinal)}");
        bool left = false;
        int failed = 0;
        Exception? fault = null;
        using var input = new TypedInput(
            keys =>
            {
                try
                {
                    socket.Send(keys);
                }
                catch (Exception error) when (error is SocketException or ObjectDisposedException)
                {
                    // The machine has ended, which the other thread sees.
                }

                return keys.Length;
            },
            action =>
            {
                if (action == EscapeAction.Help)
                {
                    StandardStreams.WriteOutput(System.Text.Encoding.ASCII.GetBytes("\r\n" + Help));
                    return;
                }

                Volatile.Write(ref left, true);
                socket.Shutdown(SocketShutdown.Both);
            },
            error =>
            {
                Volatile.Write(ref fault, error);
                socket.Shutdown(SocketShutdown.Both);
            });
        int ended = 0;
        using var guard = new SignalGuard(number =>
        {
            Volatile.Write(ref ended, number);
            socket.Shutdown(SocketShutdown.Both);
        });
        input.Begin();
        using PosixSignalRegistration? size = input.IsTerminal ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => TellSize(machine)) : null;
        if (input.IsTerminal)
        {
            TellSize(machine);
        }

        byte[] piece = new byte[1 << 14];
        try
        {
            while (failed == 0 && socket.Receive(piece) is int count and > 0)
            {
                failed = StandardStreams.WriteOutput(piece.AsSpan(0, count));
            }
        }
        catch (SocketException)
        {
            // As its end.
        }

        input.Restore();
        if (Volatile.Read(ref fault) is { } met)
        {
            ExceptionDispatchInfo.Throw(met);
        }

        if (Volatile.Read(ref ended) is not 0 and int signal)
        {
            return ExitCodes.Signal(signal);
        }

        if (failed != 0)
        {
            return ExitCodes.Success; // As far as it is known here.
        }

        StandardStreams.Error.WriteLine(Volatile.Read(ref left) ? $"\nyado: {machine.Name} runs on" : $"\nyado: {machine.Name} has ended");
        return ExitCodes.Success;
    }

    // A virtio console follows it; a serial port has none.
    private static void TellSize(MachineFolder machine)
    {
        if (Terminal.Size(0) is var (rows, columns))
        {
            ControlClient.TryAsk(machine, string.Create(CultureInfo.InvariantCulture, $"size {rows} {columns}"))?.Dispose();
        }
    }
}
