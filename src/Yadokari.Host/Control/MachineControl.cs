using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Yadokari.Core;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Control;

/// <summary>Sends requests to the monitor of a named machine. Any thread; each call opens a connection.</summary>
/// <param name="machine">The machine; it need not run.</param>
public sealed class MachineControl(MachineFolder machine)
{
    // How long a monitor may take to end after a request or a signal to end.
    private static readonly TimeSpan s_endTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Presses the power button; cuts the power if the guest has not powered off within <paramref name="timeout"/>. Does nothing if the machine does not run.</summary>
    /// <exception cref="UserErrorException">The machine could not be ended.</exception>
    /// <returns>False if the power was cut.</returns>
    public bool Stop(TimeSpan timeout)
    {
        // A paused guest can't react to the button; a booting guest does not react yet, so the button is pressed again and again.
        if (IsPaused())
        {
            Resume();
        }

        void Press() => Put(ControlApi.PowerPath, new PowerRequest(ControlApi.PressButton), ControlJson.Default.PowerRequest);

        Press();
        if (machine.WaitForEnd(timeout, Press))
        {
            return true;
        }

        Kill();
        return false;
    }

    /// <summary>Cuts the power and waits for the machine's end. Does nothing if the machine does not run.</summary>
    /// <exception cref="UserErrorException">The machine could not be ended.</exception>
    public void Kill()
    {
        Put(ControlApi.PowerPath, new PowerRequest(ControlApi.Off), ControlJson.Default.PowerRequest);
        if (machine.WaitForEnd(s_endTimeout))
        {
            return;
        }

        // The monitor does not answer.
        if (!machine.TryKillMonitor() || !machine.WaitForEnd(s_endTimeout))
        {
            throw new UserErrorException($"The machine {machine.Name} can't be ended: find its monitor's process with 'ps' and kill it.");
        }
    }

    /// <summary>Pauses the machine: vCPUs and clocks stop until <see cref="Resume"/>. Does nothing if it is paused.</summary>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public void Pause() => SetState(ControlApi.Paused);

    /// <summary>Resumes a paused machine. Does nothing if it is not paused.</summary>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public void Resume() => SetState(ControlApi.Running);

    /// <summary>Whether the machine is paused. False too if its monitor takes no connection, or does not answer within five seconds.</summary>
    public bool IsPaused()
    {
        try
        {
            using ControlClient.Answer? answer = ControlClient.TryAsk(machine, $"GET {ControlApi.MachinePath}", timeout: TimeSpan.Zero);
            return answer is not null && JsonSerializer.Deserialize(answer.Body, ControlJson.Default.MachineStatus)?.State == ControlApi.Paused;
        }
        catch (Exception error) when (error is JsonException or UserErrorException)
        {
            return false; // The monitor is of another version.
        }
    }

    /// <summary>Sets the size of the console's terminal. A virtio console passes it to the guest; a serial port has none. Does nothing if the machine does not run.</summary>
    internal void ResizeConsole(int rows, int columns) =>
        Put(ControlApi.ConsoleSizePath, new SizeRequest((ushort)rows, (ushort)columns), ControlJson.Default.SizeRequest);

    /// <summary>Opens a connection to the console: sent bytes are typed, received bytes are the guest's output. The caller disposes of it.</summary>
    /// <returns>The connection, and the bytes received so far.</returns>
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
