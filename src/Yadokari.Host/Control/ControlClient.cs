using System.Net.Sockets;
using System.Text;
using Yadokari.Core;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Control;

/// <summary>Asks the monitor of a machine for something.</summary>
internal static class ControlClient
{
    /// <summary>Asks, and leaves the connection open. Null where nobody answers: the machine does not run, or ends just now.</summary>
    public static Socket? TryAsk(MachineFolder machine, string request)
    {
        if (!machine.IsRunning())
        {
            return null;
        }

        const int attempts = 50; // A machine that just starts has its lock first, then its socket.
        for (int i = 0; i < attempts && machine.IsRunning(); i++)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                socket.Connect(new UnixDomainSocketEndPoint(machine.Control));
                socket.Send(Encoding.ASCII.GetBytes(request + "\n"));
                if (ReadLine(socket) == "ok")
                {
                    return socket;
                }
            }
            catch (SocketException)
            {
                // Not there yet, or not any more.
            }

            socket.Dispose();
            Thread.Sleep(100);
        }

        return null;
    }

    /// <summary>Reads a line of an answer, or what there is of it.</summary>
    public static string ReadLine(Socket socket)
    {
        byte[] one = new byte[1];
        var line = new StringBuilder();
        while (socket.Receive(one) == 1 && one[0] != '\n')
        {
            line.Append((char)one[0]);
        }

        return line.ToString();
    }

    /// <summary>Asks a machine that has to run.</summary>
    /// <exception cref="UserErrorException">It does not.</exception>
    public static Socket Ask(MachineFolder machine, string request) => TryAsk(machine, request)
        ?? throw new UserErrorException($"The machine {machine.Name} does not run: 'yado start {machine.Name}' starts it.");
}
