using Yadokari.Core;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Sockets, and who is told when they can be used again. Under the network's lock, but for waiting.</summary>
internal sealed class Reactor : IDisposable
{
    private readonly Epoll _epoll = new();
    private readonly Dictionary<ulong, IReady> _owners = [];
    private readonly ReadyEvent[] _events = new ReadyEvent[64];
    private ulong _nextToken;
    private long _wakesAt = long.MaxValue; // When the waiting thread looks at the time again, in milliseconds.
    private int _count;

    /// <summary>The same as <see cref="TryAdd"/> for a socket that stays as long as the network.</summary>
    /// <exception cref="UserErrorException">The host can't wait for it.</exception>
    public void Add(HostSocket socket, IReady owner)
    {
        _epoll.Add(socket.Descriptor, _nextToken, Readiness.Read | Readiness.Write);
        _owners.Add(_nextToken++, owner);
    }

    /// <summary>
    /// Tells <paramref name="owner"/> whenever the socket becomes ready, until it is closed and <see cref="Forget"/> called. False where the host can't
    /// wait for it.
    /// </summary>
    public bool TryAdd(HostSocket socket, IReady owner, out ulong token)
    {
        token = _nextToken;
        if (!_epoll.TryAdd(socket.Descriptor, token, Readiness.Read | Readiness.Write))
        {
            return false;
        }

        _owners.Add(_nextToken++, owner);
        return true;
    }

    /// <summary>The socket is closed.</summary>
    public void Forget(ulong token) => _owners.Remove(token);

    /// <summary>Somebody wants the time looked at then.</summary>
    public void Expect(long deadline)
    {
        if (deadline < _wakesAt)
        {
            _wakesAt = deadline;
            _epoll.Wake();
        }
    }

    /// <summary>Waits, without the lock, until something is ready, somebody calls <see cref="Wake"/>, or it is time.</summary>
    public void Wait()
    {
        long left = Volatile.Read(ref _wakesAt) is var at && at == long.MaxValue ? -1 : Math.Clamp(at - Environment.TickCount64, 0, int.MaxValue);
        _count = _epoll.Wait(_events, (int)left);
    }

    /// <summary>Whether it is time; the next is to be told of by <see cref="Expect"/>.</summary>
    public bool IsTime(long now)
    {
        bool due = now >= _wakesAt;
        _wakesAt = due ? long.MaxValue : _wakesAt;
        return due;
    }

    /// <summary>How many events the last <see cref="Wait"/> brought.</summary>
    public int Count => _count;

    /// <summary>Tells whose socket is ready of one of them.</summary>
    public void Tell(int number)
    {
        if (_owners.TryGetValue(_events[number].Token, out IReady? owner))
        {
            owner.OnReady(_events[number].Readiness);
        }
    }

    /// <summary>Ends a wait. Any thread, without the lock.</summary>
    public void Wake() => _epoll.Wake();

    /// <inheritdoc/>
    public void Dispose() => _epoll.Dispose();
}
