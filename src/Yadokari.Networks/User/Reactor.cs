using Yadokari.Core;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Dispatches readiness of sockets (epoll) to their handlers, with one timer. Under the network's lock, but for <see cref="Wait"/>.</summary>
internal sealed class Reactor : IDisposable
{
    private readonly Epoll _epoll = new();
    private readonly Dictionary<ulong, IReadyHandler> _handlers = [];
    private readonly ReadyEvent[] _events = new ReadyEvent[64];
    private ulong _nextToken;
    private long _deadline = long.MaxValue; // When Wait returns at the latest, in milliseconds of Environment.TickCount64.
    private int _count;

    /// <summary>The same as <see cref="TryAdd"/>, for a socket that is never removed.</summary>
    /// <exception cref="UserErrorException">epoll does not take the socket.</exception>
    public void Add(HostSocket socket, IReadyHandler owner)
    {
        _epoll.Add(socket.Descriptor, _nextToken, Readiness.Read | Readiness.Write);
        _handlers.Add(_nextToken++, owner);
    }

    /// <summary>
    /// Calls <paramref name="owner"/> whenever the socket becomes ready (edge-triggered), until the socket is closed and <see cref="Remove"/> called.
    /// False if epoll does not take the socket.
    /// </summary>
    public bool TryAdd(HostSocket socket, IReadyHandler owner, out ulong token)
    {
        token = _nextToken;
        if (!_epoll.TryAdd(socket.Descriptor, token, Readiness.Read | Readiness.Write))
        {
            return false;
        }

        _handlers.Add(_nextToken++, owner);
        return true;
    }

    /// <summary>Removes the handler of a socket that is closed.</summary>
    public void Remove(ulong token) => _handlers.Remove(token);

    /// <summary>Arms the timer, unless it is armed for an earlier time. In milliseconds of <see cref="Environment.TickCount64"/>.</summary>
    public void ArmTimer(long deadline)
    {
        if (deadline < _deadline)
        {
            _deadline = deadline;
            _epoll.Wake();
        }
    }

    /// <summary>Waits, without the lock, until a socket is ready, a thread calls <see cref="Wake"/>, or the timer expires.</summary>
    public void Wait()
    {
        long left = Volatile.Read(ref _deadline) is var at && at == long.MaxValue ? -1 : Math.Clamp(at - Environment.TickCount64, 0, int.MaxValue);
        _count = _epoll.Wait(_events, (int)left);
    }

    /// <summary>Whether the timer has expired; it is disarmed then, until <see cref="ArmTimer"/>.</summary>
    public bool TimerExpired(long now)
    {
        bool expired = now >= _deadline;
        _deadline = expired ? long.MaxValue : _deadline;
        return expired;
    }

    /// <summary>The number of events of the last <see cref="Wait"/>.</summary>
    public int Count => _count;

    /// <summary>Calls the handler of one of these events.</summary>
    public void Dispatch(int number)
    {
        if (_handlers.TryGetValue(_events[number].Token, out IReadyHandler? owner))
        {
            owner.OnReady(_events[number].Readiness);
        }
    }

    /// <summary>Makes <see cref="Wait"/> return. Any thread, without the lock.</summary>
    public void Wake() => _epoll.Wake();

    /// <inheritdoc/>
    public void Dispose() => _epoll.Dispose();
}
