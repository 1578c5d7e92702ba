using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
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
        // A guest that is paused hears of no button, one that just starts not yet: it is pressed again.
        if (IsPaused())
        {
            Resume();
        }

        void Press() => Put(ControlApi.PowerPath, new PowerRequest(ControlApi.PressButton), ControlJson.Default.PowerRequest);

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
        Put(ControlApi.PowerPath, new PowerRequest(ControlApi.Off), ControlJson.Default.PowerRequest);
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

    /// <summary>Pauses the machine: its guest runs no further, and its clocks stand, until <see cref="Resume"/>. Nothing is done where it is paused.</summary>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public void Pause() => SetState(ControlApi.Paused);

    /// <summary>Has a paused machine go on. Nothing is done where it is not paused.</summary>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public void Resume() => SetState(ControlApi.Running);

    /// <summary>Whether the machine is paused. False too where its monitor does not answer at once.</summary>
    public bool IsPaused()
    {
        try
        {
            using ControlClient.Answer? answer = ControlClient.TryAsk(machine, $"GET {ControlApi.MachinePath}", patience: TimeSpan.Zero);
            return answer is not null && JsonSerializer.Deserialize(answer.Body, ControlJson.Default.MachineStatus)?.State == ControlApi.Paused;
        }
        catch (Exception error) when (error is JsonException or UserErrorException)
        {
            return false; // The monitor of another version.
        }
    }

    /// <summary>Tells the guest of the size of its console's terminal. A virtio console follows it; a serial port has none. Nothing is done where the machine does not run.</summary>
    internal void ResizeConsole(int rows, int columns) =>
        Put(ControlApi.ConsoleSizePath, new SizeRequest((ushort)rows, (ushort)columns), ControlJson.Default.SizeRequest);

    /// <summary>A connection that carries the console: what is sent is typed, what is received the guest has written. The caller disposes of it.</summary>
    /// <returns>The connection, and the first bytes that were received.</returns>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    internal (Socket Connection, byte[] First) OpenConsole()
    {
        ControlClient.Answer answer = ControlClient.Ask(machine, $"GET {ControlApi.ConsolePath}", null, $"Connection: Upgrade\r\nUpgrade: {ControlApi.ConsoleProtocol}\r\n");
        return (answer.Connection, answer.Rest);
    }

    private void SetState(string state) => ControlClient
        .Ask(machine, $"PUT {ControlApi.StatePath}", JsonSerializer.SerializeToUtf8Bytes(new StateRequest(state), ControlJson.Default.StateRequest)).Dispose();

    private void Put<T>(string path, T value, JsonTypeInfo<T> type) => ControlClient.TryAsk(machine, $"PUT {path}", JsonSerializer.SerializeToUtf8Bytes(value, type))?.Dispose();

    /// <summary>Sends a request, and returns the answer's body.</summary>
    /// <exception cref="UserErrorException">The machine does not run, or its monitor refuses.</exception>
    internal byte[] Ask(string request, byte[]? body)
    {
        using ControlClient.Answer answer = ControlClient.Ask(machine, request, body);
        return answer.Body;
    }
}
