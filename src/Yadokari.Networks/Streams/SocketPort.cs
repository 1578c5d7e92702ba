using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks.Streams;

/// <summary>
/// A guest's port as a socket in the file system: one program at a time is connected to it, further ones wait for its end. A thread waits for
/// the sockets.
/// </summary>
public sealed class SocketPort : IPortHost
{
    private const ulong ListenerToken = 0;

    private readonly Lock _lock = new(); // Guards the client. The kernel is called under it, which does not wait, and nobody else.
    private readonly Epoll _epoll = new();
    private readonly HostSocket _listener;
    private readonly string _path;
    private readonly Thread _thread;
    private HostSocket? _client;
    private ulong _clients; // So many have come: the last one's token.
    private bool _leaving; // The client hung up; what it sent may not all be read yet.
    private volatile bool _stopping;

    /// <summary>Listens.</summary>
    /// <param name="path">The socket's name; it goes with this object.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">It can't be made.</exception>
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

            Leave();
        }

        _epoll.Wake(); // The thread tells of it, and takes who waits.
        return 0;
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            // To one that is gone, everything goes; that it is gone shows on reading.
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
                    _leaving |= token == _clients && token != ListenerToken && (readiness & (Readiness.HungUp | Readiness.Error)) != 0;
                }

                TakeNext();
            }

            Ready?.Invoke();
        }
    }

    // A client that has hung up makes way for one that waits: else a guest that does not read would keep everybody out.
    private void TakeNext()
    {
        while ((_client is null || _leaving) && _listener.Accept() is { } next)
        {
            Leave();
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

    private void Leave()
    {
        _client?.Dispose();
        (_client, _leaving) = (null, false);
    }
}
