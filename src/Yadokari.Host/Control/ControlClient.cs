using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Yadokari.Core;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Control;

/// <summary>Sends requests to the monitor of a machine.</summary>
internal static class ControlClient
{
    private const int MaxAnswerLength = 1 << 20;

    // A starting machine takes its lock first and then creates its socket; its monitor answers once the guest runs.
    private static readonly TimeSpan s_connectTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_answerTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_retryDelay = TimeSpan.FromMilliseconds(100);

    /// <summary>A response: its body, and the connection, which carries another protocol if the request asked for an upgrade.</summary>
    /// <param name="Connection">The connection; owned.</param>
    /// <param name="Body">The body.</param>
    /// <param name="Rest">Bytes received after the response.</param>
    public sealed record Answer(Socket Connection, byte[] Body, byte[] Rest) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => Connection.Dispose();
    }

    /// <summary>Sends a request to a machine that must be running. Blocks for up to ten seconds until its monitor takes connections.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="request">Method and path.</param>
    /// <param name="body">JSON; null for none.</param>
    /// <param name="headers">Additional headers, each ending in CR LF.</param>
    /// <exception cref="UserErrorException">The machine does not run or has ended, or its monitor refuses the request or does not answer.</exception>
    public static Answer Ask(MachineFolder machine, string request, byte[]? body = null, string headers = "")
    {
        bool ran = machine.IsRunning();
        return (ran ? TryAsk(machine, request, body, headers) : null) ?? throw new UserErrorException(
            !ran ? $"The machine {machine.Name} does not run: 'yado start {machine.Name}' starts it."
            : !machine.IsRunning() ? $"The machine {machine.Name} has ended meanwhile: 'yado start {machine.Name}' starts it again."
            : $"The monitor of {machine.Name} does not answer: try again, or 'yado kill {machine.Name}' ends it.");
    }

    /// <summary>
    /// Sends a request to a machine that may not run. Returns null if it does not run or ends, or if its monitor does not take connections within
    /// <paramref name="timeout"/> (default: ten seconds). A monitor that takes the connection has five more seconds to answer.
    /// </summary>
    /// <exception cref="UserErrorException">The monitor refuses.</exception>
    public static Answer? TryAsk(MachineFolder machine, string request, byte[]? body = null, string headers = "", TimeSpan? timeout = null)
    {
        string head = string.Create(CultureInfo.InvariantCulture, $"{request} HTTP/1.1\r\nHost: localhost\r\n{headers}{(body is null ? "" : $"Content-Type: application/json\r\nContent-Length: {body.Length}\r\n")}\r\n");
        byte[] message = [.. Encoding.ASCII.GetBytes(head), .. body ?? []];
        long began = Environment.TickCount64;
        while (machine.IsRunning())
        {
            if (TrySend(machine, message) is { } answer)
            {
                return answer;
            }

            if (Environment.TickCount64 - began >= (timeout ?? s_connectTimeout).TotalMilliseconds)
            {
                return null;
            }

            Thread.Sleep(s_retryDelay);
        }

        return null;
    }

    private static Answer? TrySend(MachineFolder machine, byte[] message)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(machine.Control));
            socket.Send(message);
            var connection = new HttpConnection(socket, s_answerTimeout);
            if (connection.ReadAnswer() is var (status, head))
            {
                byte[] body = connection.ReadBody(head, MaxAnswerLength);
                return status < 400 ? new Answer(socket, body, connection.Rest.ToArray()) : throw Refusal(machine, status, body);
            }
        }
        catch (SocketException)
        {
            // The socket does not exist yet or any more.
        }
        catch (HttpError)
        {
            // The monitor hangs, ends, or is of an older yado.
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        socket.Dispose();
        return null;
    }

    private static UserErrorException Refusal(MachineFolder machine, int status, byte[] body)
    {
        try
        {
            if (JsonSerializer.Deserialize(body, ControlJson.Default.Problem) is { } problem)
            {
                return new UserErrorException(problem.Detail);
            }
        }
        catch (JsonException)
        {
            // The monitor is of another version.
        }

        return new UserErrorException($"The monitor of {machine.Name} refused the request (status {status}): stop the machine and start it again with this version of yado.");
    }
}
