using System.Net.Sockets;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text;
using Yadokari.Core;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;
using Yadokari.Linux;

namespace Yadokari.Host.Consoles;

/// <summary>Why an attachment to a console ended.</summary>
public enum DetachReason
{
    /// <summary>The machine has ended.</summary>
    MachineEnded,

    /// <summary>The user detached; the machine keeps running.</summary>
    Left,

    /// <summary>This process received a signal that ends it.</summary>
    Signalled,

    /// <summary>Standard output can't be written any more; see <see cref="StandardStreams.Finish"/>.</summary>
    OutputFailed,
}

/// <summary>Connects this process's standard input and output to the console of a machine that another process runs.</summary>
public static class ConsoleAttachment
{
    private const string Help = "Ctrl-A x  detaches; the machine keeps running\r\nCtrl-A a  sends Ctrl-A to the guest\r\nCtrl-A h  shows this\r\n";

    /// <summary>Attaches, and returns after detaching. A terminal is in raw mode until then, with Ctrl-A as escape key.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="attached">Called once the monitor has answered, before anything of the console is shown.</param>
    /// <returns>Why the attachment ended, and the signal's number (0 for none).</returns>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public static (DetachReason Reason, int Signal) Run(MachineFolder machine, Action attached)
    {
        var control = new MachineControl(machine);
        (Socket connection, byte[] first) = control.OpenConsole();
        using Socket socket = connection;
        attached();
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
                    // The machine has ended; the receiving thread sees the end of the connection.
                }

                return keys.Length;
            },
            action =>
            {
                if (action == EscapeAction.Help)
                {
                    StandardStreams.WriteOutput(Encoding.ASCII.GetBytes("\r\n" + Help));
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
        using PosixSignalRegistration? size = input.IsTerminal ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => TellSize(control)) : null;
        if (input.IsTerminal)
        {
            TellSize(control);
        }

        byte[] piece = new byte[1 << 14];
        try
        {
            failed = StandardStreams.WriteOutput(first);
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

        return Volatile.Read(ref ended) is not 0 and int signal ? (DetachReason.Signalled, signal)
            : failed != 0 ? (DetachReason.OutputFailed, 0)
            : Volatile.Read(ref left) ? (DetachReason.Left, 0)
            : (DetachReason.MachineEnded, 0);
    }

    private static void TellSize(MachineControl control)
    {
        if (Terminal.Size(0) is var (rows, columns))
        {
            control.ResizeConsole(rows, columns);
        }
    }
}
