using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks.Streams;

/// <summary>
/// A console port of the guest as a Unix domain socket: serves one client at a time, further ones wait in the listen backlog. A thread of its
/// own waits for the sockets.
/// </summary>
public sealed class SocketPort : IPortHost
{
    private const ulong ListenerToken = 0;

    private readonly Lock _lock = new(); // Guards the client. Only system calls that do not block are made under it.
    private readonly Epoll _epoll = new();
    private readonly HostSocket _listener;
    private readonly string _path;
    private readonly Thread _thread;
    private HostSocket? _client;
    private ulong _clients; // Number of clients accepted so far, and the last one's token.
    private bool _hungUp; // The client hung up; data that it sent may still be unread.
    private volatile bool _stopping;

    /// <summary>Creates the socket and listens.</summary>
    /// <param name="path">The socket's path; <see cref="Dispose"/> deletes the file.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">The socket can't be created.</exception>
    public SocketPort(string path, Action<Exception>? failed = null)
    {
        _path = path;
        try
        {
            _listener = LocalListener.Open(path, _epoll, ListenerToken);
        }
        catch
        {
            _epoll.Dispose();
            throw;
        }

        _thread = HostThread.Start("port", Main, failed);
    }

    /// <inheritdoc/>
    public Action? Ready { get; set; }

    /// <inheritdoc/>
    public bool IsConnected
    {
        get
        {
            lock (_lock)
            {
                return _client is not null;
            }
        }
    }

    /// <inheritdoc/>
    public int Read(Span<byte> data)
    {
        lock (_lock)
        {
            int count = _client?.Receive(data) ?? HostSocket.Again;
            if (count > 0 || count == HostSocket.Again)
            {
                return Math.Max(count, 0);
            }

            CloseClient();
        }

        _epoll.Wake(); // The thread signals Ready, and accepts the next client.
        return 0;
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            // Data to a client that disconnected is discarded; reading detects the disconnect.
            int count = _client?.Send(data) ?? data.Length;
            return count == HostSocket.Again ? 0 : count < 0 ? data.Length : count;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        _epoll.Wake();
        _thread.Join();
        _client?.Dispose();
        _listener.Dispose();
        _epoll.Dispose();
        File.Delete(_path);
    }

    private void Main()
    {
        Span<ReadyEvent> events = stackalloc ReadyEvent[4];
        while (!_stopping)
        {
            int count = _epoll.Wait(events, -1);
            lock (_lock)
            {
                foreach ((Readiness readiness, ulong token) in events[..count])
                {
                    _hungUp |= token == _clients && token != ListenerToken && (readiness & (Readiness.HungUp | Readiness.Error)) != 0;
                }

                AcceptNext();
            }

            Ready?.Invoke();
        }
    }

    // A client that has hung up is replaced by the next in the backlog: else a guest that does not read would keep every other client out.
    private void AcceptNext()
    {
        while ((_client is null || _hungUp) && _listener.Accept() is { } next)
        {
            CloseClient();
            if (_epoll.TryAdd(next.Descriptor, ++_clients, Readiness.Read | Readiness.Write))
            {
                _client = next;
            }
            else
            {
                next.Dispose();
            }
        }
    }

    private void CloseClient()
    {
        _client?.Dispose();
        (_client, _hungUp) = (null, false);
    }
}
