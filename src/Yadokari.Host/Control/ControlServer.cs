using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Host.Consoles;

namespace Yadokari.Host.Control;

/// <summary>
/// Answers requests by HTTP/1.1 for a machine that runs, on a socket in its folder: one a connection, each on a thread of its own. Whoever may
/// open the socket is the user. What clients can make the monitor hold or wait for has a limit all the same: how many they are, how long a
/// request is and takes, and how long one may not read what is sent.
/// </summary>
internal sealed class ControlServer : IDisposable
{
    private const int MaxPath = 107; // sun_path of unix(7), with its end.
    private const int RecentLength = 4096;
    private const int MostClients = 64;
    private const int TooManyFiles = 100; // Milliseconds to wait before the next try.
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private static readonly TimeSpan s_sendTime = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_lastWords = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_keepAlive = TimeSpan.FromSeconds(15);

    private readonly Socket _listener;
    private readonly string _path;
    private readonly TimeSpan _requestTime;
    private readonly object _lock = new();
    private readonly List<Socket> _watchers = []; // Guarded by _lock, as is all below.
    private readonly HashSet<Socket> _clients = [];
    private byte[] _recent = [];
    private int _streams; // Clients that get events.
    private ControlApi? _api;
    private IMonitor? _monitor;
    private bool _disposed;

    private ControlServer(string path, Socket listener, TimeSpan requestTime)
    {
        _path = path;
        _listener = listener;
        _requestTime = requestTime;
    }

    /// <summary>Makes the socket; nobody is answered before <see cref="Begin"/>. The caller holds the machine's lock.</summary>
    /// <param name="path">The socket's.</param>
    /// <param name="requestTime">How long a request may take to come; five seconds if not given.</param>
    /// <exception cref="UserErrorException">It can't be made.</exception>
    public static ControlServer Open(string path, TimeSpan? requestTime = null)
    {
        if (Encoding.UTF8.GetByteCount(path) > MaxPath)
        {
            throw new UserErrorException($"The path {path} is too long for a socket: set XDG_DATA_HOME to a folder whose path is shorter.");
        }

        File.Delete(path);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            File.SetUnixFileMode(path, OwnerOnly); // Before it listens: until then nobody can connect.
            listener.Listen();
            return new ControlServer(path, listener, requestTime ?? TimeSpan.FromSeconds(5));
        }
        catch (SocketException error)
        {
            listener.Dispose();
            throw new UserErrorException($"The socket {path} can't be made ({error.Message.TrimEnd('.')}): set XDG_DATA_HOME to a folder of the host's own.");
        }
    }

    /// <summary>Starts to answer. Once only.</summary>
    public void Begin(IMonitor monitor, MachineDescription machine)
    {
        lock (_lock)
        {
            _monitor = monitor;
            _api = new ControlApi(monitor, machine);
        }

        HostThread.Start("control", Accept, monitor.Fail);
    }

    /// <summary>Shows the console's output to those who watch. One thread; one who does not read within a second watches no more.</summary>
    public void Show(ReadOnlySpan<byte> output)
    {
        lock (_lock)
        {
            ReadOnlySpan<byte> tail = output[Math.Max(0, output.Length - RecentLength)..];
            ReadOnlySpan<byte> kept = _recent.AsSpan(Math.Max(0, _recent.Length + tail.Length - RecentLength));
            _recent = [.. kept, .. tail];
            for (int i = _watchers.Count - 1; i >= 0; i--)
            {
                if (!TrySend(_watchers[i], output))
                {
                    _watchers[i].Dispose();
                    _watchers.RemoveAt(i);
                }
            }
        }
    }

    /// <summary>Ends all connections, once those who get events have got the last of them, and removes the socket.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        _listener.Dispose();
        File.Delete(_path);
        _monitor?.Events.Complete();
        lock (_lock)
        {
            long began = Environment.TickCount64;
            while (_streams > 0 && TimeSpan.FromMilliseconds(Environment.TickCount64 - began) is var waited && waited < s_lastWords)
            {
                Monitor.Wait(_lock, s_lastWords - waited);
            }

            foreach (Socket client in _clients)
            {
                client.Dispose();
            }

            _clients.Clear();
            _watchers.Clear();
            _api?.Dispose();
        }
    }

    private void Accept()
    {
        while (true)
        {
            try
            {
                Socket client = _listener.Accept();
                if (TryAdmit(client))
                {
                    HostThread.Start("control client", () => Serve(client), _monitor!.Fail);
                }
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                lock (_lock)
                {
                    if (_disposed)
                    {
                        return;
                    }
                }

                Thread.Sleep(TooManyFiles); // Or whoever wanted something has gone meanwhile.
            }
        }
    }

    private bool TryAdmit(Socket client)
    {
        client.SendTimeout = (int)s_sendTime.TotalMilliseconds;
        lock (_lock)
        {
            if (!_disposed && _clients.Count < MostClients)
            {
                _clients.Add(client);
                return true;
            }
        }

        TrySend(client, HttpResponse.Refusal(new HttpError(503, null, $"The monitor answers {MostClients} clients already", "end one of them")).ToBytes());
        client.Dispose();
        return false;
    }

    private void Serve(Socket client)
    {
        try
        {
            Answer(client, new HttpConnection(client, _requestTime));
            Linger(client);
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // Whoever asked has gone, or the machine has ended.
        }
        finally
        {
            lock (_lock)
            {
                _clients.Remove(client);
            }

            client.Dispose();
        }
    }

    private void Answer(Socket client, HttpConnection connection)
    {
        HttpRequest? request = null;
        ControlApi.Answer answer;
        try
        {
            request = connection.ReadRequest();
            if (request is null)
            {
                return;
            }

            answer = _api!.Handle(request);
        }
        catch (HttpError error)
        {
            answer = ControlApi.Answer.Of(HttpResponse.Refusal(error));
        }
        catch (Exception error) when (error is not (SocketException or ObjectDisposedException))
        {
            // Whatever a client sends, the guest goes on.
            StandardStreams.Error.WriteLine($"yado: control: {UserText.Fault(error)}");
            answer = ControlApi.Answer.Of(HttpResponse.Refusal(new HttpError(500, null, "The monitor met a fault of its own", "look into the machine's monitor.log")));
        }

        bool withBody = request?.Method != "HEAD";
        bool sent = TrySend(client, answer.Response.ToBytes(withBody));
        answer.Action?.Invoke();
        if (sent && withBody)
        {
            switch (answer.Then)
            {
                case ControlApi.After.AttachConsole:
                    AttachConsole(client, connection.Rest);
                    break;
                case ControlApi.After.StreamEvents:
                    StreamEvents(client);
                    break;
            }
        }
    }

    // A client may still be sending what nobody reads: the connection ends when it has seen the answer, or after a while, for a reset could overtake that.
    private static void Linger(Socket client)
    {
        const int most = 1 << 18;
        Span<byte> dropped = stackalloc byte[4096];
        client.Shutdown(SocketShutdown.Send);
        client.ReceiveTimeout = (int)s_lastWords.TotalMilliseconds;
        long began = Environment.TickCount64;
        int total = 0;
        while (total < most && Environment.TickCount64 - began < s_lastWords.TotalMilliseconds && client.Receive(dropped) is int count and > 0)
        {
            total += count;
        }
    }

    private void AttachConsole(Socket client, ReadOnlySpan<byte> typed)
    {
        lock (_lock)
        {
            if (_disposed || !TrySend(client, _recent))
            {
                return;
            }

            _watchers.Add(client);
        }

        try
        {
            TypedInput.TypeAll(_monitor!.Type, typed);
            byte[] keys = new byte[256];
            while (client.Receive(keys) is int count and > 0)
            {
                TypedInput.TypeAll(_monitor.Type, keys.AsSpan(0, count));
            }
        }
        finally
        {
            lock (_lock)
            {
                _watchers.Remove(client);
            }
        }
    }

    // Server-sent events (HTML, 9.2).
    private void StreamEvents(Socket client)
    {
        lock (_lock)
        {
            _streams++;
        }

        try
        {
            using RunEvents.Listener listener = _monitor!.Events.Listen();
            bool listens = true;
            while (listens)
            {
                RunEvent? happened = listener.Take(s_keepAlive, out bool ended);
                listens = !ended && TrySend(client, Encoding.UTF8.GetBytes(happened is null
                    ? ": nothing new\n\n"
                    : string.Create(CultureInfo.InvariantCulture, $"event: {happened.Event}\ndata: {JsonSerializer.Serialize(happened, ControlJson.Default.RunEvent)}\n\n")));
            }
        }
        finally
        {
            lock (_lock)
            {
                _streams--;
                Monitor.PulseAll(_lock);
            }
        }
    }

    private static bool TrySend(Socket client, ReadOnlySpan<byte> bytes)
    {
        try
        {
            while (!bytes.IsEmpty)
            {
                bytes = bytes[client.Send(bytes)..];
            }

            return true;
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            return false;
        }
    }
}
