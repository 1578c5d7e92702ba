using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Host.Consoles;
using Yadokari.Host.Logs;

namespace Yadokari.Host.Control;

/// <summary>
/// Serves HTTP/1.1 for a running machine on a Unix socket in its folder: one request a connection, each connection on its own thread. Only the
/// owner may open the socket. Limits still protect the monitor from its clients: their number, the length and duration of a request, and how
/// long a client may leave sent data unread.
/// </summary>
internal sealed class ControlServer : IDisposable
{
    private const int MaxPath = 107; // sun_path of unix(7), without its terminating NUL.
    private const int RecentLength = 4096;
    private const int MaxClients = 64;
    private const int AcceptRetryDelay = 100; // Milliseconds; accept fails while there are too many open files.
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private static readonly TimeSpan s_sendTimeout = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_closeTimeout = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_closeCheck = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_keepAlive = TimeSpan.FromSeconds(15);

    private readonly Socket _listener;
    private readonly string _path;
    private readonly TimeSpan _requestTime;
    private readonly object _lock = new();
    private readonly List<Socket> _watchers = []; // Guarded by _lock, as is all below.
    private readonly HashSet<Socket> _clients = [];
    private byte[] _recent = [];
    private int _streams; // Count of clients that receive events.
    private ControlApi? _api;
    private IMonitor? _monitor;
    private bool _disposed;

    private ControlServer(string path, Socket listener, TimeSpan requestTime)
    {
        _path = path;
        _listener = listener;
        _requestTime = requestTime;
    }

    /// <summary>Creates the socket. Requests are not answered before <see cref="Begin"/>. The caller holds the machine's lock.</summary>
    /// <param name="path">Path of the socket.</param>
    /// <param name="requestTime">How long receiving a request may take (default: five seconds).</param>
    /// <exception cref="UserErrorException">The socket can't be created.</exception>
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
            File.SetUnixFileMode(path, OwnerOnly); // Before it listens: until then no client can connect.
            listener.Listen();
            return new ControlServer(path, listener, requestTime ?? TimeSpan.FromSeconds(5));
        }
        catch (SocketException error)
        {
            listener.Dispose();
            throw new UserErrorException($"The socket {path} can't be made ({error.Message.TrimEnd('.')}): set XDG_DATA_HOME to a folder on a local file system.");
        }
    }

    /// <summary>Starts answering requests. Called once.</summary>
    public void Begin(IMonitor monitor, MachineDescription machine)
    {
        lock (_lock)
        {
            _monitor = monitor;
            _api = new ControlApi(monitor, machine);
        }

        HostThread.Start("control", Accept, monitor.Fail);
    }

    /// <summary>Sends the console's output to the attached clients. Called by one thread. A client that does not read it within a second is disconnected.</summary>
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
                    _monitor?.Log.WatcherDropped();
                    _watchers[i].Dispose();
                    _watchers.RemoveAt(i);
                }
            }
        }
    }

    /// <summary>Sends the last events to the clients that receive them, then closes all connections and removes the socket.</summary>
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
            while (_streams > 0 && TimeSpan.FromMilliseconds(Environment.TickCount64 - began) is var waited && waited < s_closeTimeout)
            {
                Monitor.Wait(_lock, s_closeTimeout - waited);
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

                Thread.Sleep(AcceptRetryDelay); // Too many open files, or the client has closed the connection.
            }
        }
    }

    private bool TryAdmit(Socket client)
    {
        client.SendTimeout = (int)s_sendTimeout.TotalMilliseconds;
        lock (_lock)
        {
            if (!_disposed && _clients.Count < MaxClients)
            {
                _clients.Add(client);
                return true;
            }
        }

        TrySend(client, HttpResponse.Refusal(new HttpError(503, null, $"The monitor answers {MaxClients} clients already", "end one of them")).ToBytes());
        client.Dispose();
        return false;
    }

    private void Serve(Socket client)
    {
        try
        {
            Answer(client, new HttpConnection(client, _requestTime));
            DrainUntilClosed(client);
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            // The client has closed the connection, or the machine has ended.
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
            _monitor!.Log.RequestAnswered(request.Method, request.Path, answer.Response.Status);
        }
        catch (HttpError error)
        {
            _monitor!.Log.RequestRefused(error.Status, error.Message);
            answer = ControlApi.Answer.Of(HttpResponse.Refusal(error));
        }
        catch (Exception error) when (error is not (SocketException or ObjectDisposedException))
        {
            // No request may end the guest.
            _monitor!.Log.RequestFailed(error);
            answer = ControlApi.Answer.Of(HttpResponse.Refusal(new HttpError(500, null, "The monitor has an internal error", "read the machine's monitor.log")));
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

    // Closing with unread data would send a reset, which can discard the response before the client reads it. So drop what the client still sends until it
    // closes the connection or a limit is reached.
    private static void DrainUntilClosed(Socket client)
    {
        const int most = 1 << 18;
        Span<byte> dropped = stackalloc byte[4096];
        client.Shutdown(SocketShutdown.Send);
        client.ReceiveTimeout = (int)s_closeTimeout.TotalMilliseconds;
        long began = Environment.TickCount64;
        int total = 0;
        while (total < most && Environment.TickCount64 - began < s_closeTimeout.TotalMilliseconds && client.Receive(dropped) is int count and > 0)
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
            long sent = Environment.TickCount64;
            while (listens)
            {
                RunEvent? happened = listener.Take(s_closeCheck, out bool ended);
                if (happened is null && !ended && Environment.TickCount64 - sent < s_keepAlive.TotalMilliseconds)
                {
                    listens = !HasClosed(client);
                    continue;
                }

                sent = Environment.TickCount64;
                listens = !ended && TrySend(client, Encoding.UTF8.GetBytes(happened is null
                    ? ": keep-alive\n\n"
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

    // Clients of a stream have nothing to send any more.
    private static bool HasClosed(Socket client) => client.Poll(0, SelectMode.SelectRead) && client.Available == 0;

    // False if the client has closed the connection or does not read in time.
    private static bool TrySend(Socket client, ReadOnlySpan<byte> bytes)
    {
        long began = Environment.TickCount64;
        try
        {
            while (!bytes.IsEmpty && Environment.TickCount64 - began <= s_sendTimeout.TotalMilliseconds)
            {
                bytes = bytes[client.Send(bytes)..];
            }

            return bytes.IsEmpty;
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            return false;
        }
    }
}
