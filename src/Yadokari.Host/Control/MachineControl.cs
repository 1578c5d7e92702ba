using System.Globalization;
using System.Net.Sockets;
using Yadokari.Core;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Control;

/// <summary>What may be asked of the monitor of a named machine. Any thread; each call is one request of its own.</summary>
/// <param name="machine">The machine; need not run.</param>
public sealed class MachineControl(MachineFolder machine)
{
    // How long a monitor may take to end once it was told to.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    /// <summary>Presses the power button, and cuts the power of a guest that has not powered off after a time. Nothing is done where the machine does not run.</summary>
    /// <exception cref="UserErrorException">The machine goes on.</exception>
    public void Stop(TimeSpan patience)
    {
        // A guest that just starts does not hear the button yet: it is pressed again.
        void Press() => ControlClient.TryAsk(machine, "power")?.Dispose();

        Press();
        if (!machine.WaitForEnd(patience, Press))
        {
            Kill();
        }
    }

    /// <summary>Cuts the power and waits for the machine's end; nothing is done where it does not run.</summary>
    /// <exception cref="UserErrorException">The machine goes on.</exception>
    public void Kill()
    {
        ControlClient.TryAsk(machine, "kill")?.Dispose();
        if (machine.WaitForEnd(s_patience))
        {
            return;
        }

        // A monitor that does not answer any more.
        if (!machine.TryKillMonitor() || !machine.WaitForEnd(s_patience))
        {
            throw new UserErrorException($"The machine {machine.Name} can't be ended: look for its monitor with 'ps'.");
        }
    }

    /// <summary>Bytes of memory that the guest has just now, and that the machine was built with.</summary>
    /// <param name="wanted">What the guest is to make do with from now on, in bytes; null to ask only. It goes along in its own time.</param>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public (ulong Now, ulong Full) Balloon(ulong? wanted = null)
    {
        using Socket socket = ControlClient.Ask(machine, wanted is { } bytes ? string.Create(CultureInfo.InvariantCulture, $"balloon {bytes}") : "balloon");
        string[] words = ControlClient.ReadLine(socket).Split(' ');
        return (ulong.Parse(words[0], CultureInfo.InvariantCulture), ulong.Parse(words[1], CultureInfo.InvariantCulture));
    }

    /// <summary>Tells the guest of the size of its console's terminal. A virtio console follows it; a serial port has none. Nothing is done where the machine does not run.</summary>
    internal void ResizeConsole(int rows, int columns) =>
        ControlClient.TryAsk(machine, string.Create(CultureInfo.InvariantCulture, $"size {rows} {columns}"))?.Dispose();

    /// <summary>A connection that carries the console: what is sent is typed, what is received the guest has written. The caller disposes of it.</summary>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    internal Socket OpenConsole() => ControlClient.Ask(machine, "console");
}
