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
    private const int LongestAnswer = 1 << 20;

    // A machine that just starts has its lock first, then its socket, and its monitor answers once the guest runs.
    private static readonly TimeSpan s_startTime = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_answerTime = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_between = TimeSpan.FromMilliseconds(100);

    /// <summary>An answer: its body, and the connection, which another protocol is spoken on if the request asked for that.</summary>
    /// <param name="Connection">Belongs to this.</param>
    /// <param name="Body">The body.</param>
    /// <param name="Rest">What came behind the answer.</param>
    public sealed record Answer(Socket Connection, byte[] Body, byte[] Rest) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => Connection.Dispose();
    }

    /// <summary>Sends a request to a machine that has to run.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="request">Method and path.</param>
    /// <param name="body">JSON; null for none.</param>
    /// <param name="headers">Further headers, each with its line end.</param>
    /// <exception cref="UserErrorException">It does not run, or has ended meanwhile, or its monitor refuses or does not answer.</exception>
    public static Answer Ask(MachineFolder machine, string request, byte[]? body = null, string headers = "")
    {
        bool ran = machine.IsRunning();
        return (ran ? TryAsk(machine, request, body, headers) : null) ?? throw new UserErrorException(
            !ran ? $"The machine {machine.Name} does not run: 'yado start {machine.Name}' starts it."
            : !machine.IsRunning() ? $"The machine {machine.Name} has ended meanwhile: 'yado start {machine.Name}' starts it again."
            : $"The monitor of {machine.Name} does not answer: try again, or 'yado kill {machine.Name}' ends it.");
    }

    /// <summary>
    /// The same, of a machine that may not run. Null where nobody answers: it does not run, ends just now, or does not take connections within
    /// <paramref name="patience"/>, which is ten seconds if it is not given.
    /// </summary>
    /// <exception cref="UserErrorException">The monitor refuses.</exception>
    public static Answer? TryAsk(MachineFolder machine, string request, byte[]? body = null, string headers = "", TimeSpan? patience = null)
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

            if (Environment.TickCount64 - began >= (patience ?? s_startTime).TotalMilliseconds)
            {
                return null;
            }

            Thread.Sleep(s_between);
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
            var connection = new HttpConnection(socket, s_answerTime);
            if (connection.ReadAnswer() is var (status, head))
            {
                byte[] body = connection.ReadBody(head, LongestAnswer);
                return status < 400 ? new Answer(socket, body, connection.Rest.ToArray()) : throw Refusal(machine, status, body);
            }
        }
        catch (SocketException)
        {
            // Not there yet, or not any more.
        }
        catch (HttpError)
        {
            // A monitor that hangs or ends, or one of an older yado.
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
            // Of another version.
        }

        return new UserErrorException($"The monitor of {machine.Name} refuses what it was asked for (status {status}): end the machine and start it with this yado.");
    }
}
