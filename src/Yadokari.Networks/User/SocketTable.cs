using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>A host's socket that speaks for the guest with one other.</summary>
internal sealed class SocketFlow(SocketTable table, Conversation conversation, HostSocket socket) : IReady
{
    /// <summary>Between whom.</summary>
    public Conversation Conversation => conversation;

    /// <summary>The socket.</summary>
    public HostSocket Socket => socket;

    /// <summary>By which the reactor knows the socket.</summary>
    public ulong Token { get; set; }

    /// <summary>When something last went through it, in milliseconds.</summary>
    public long LastUsed { get; set; } = Environment.TickCount64;

    /// <inheritdoc/>
    public void OnReady(Readiness readiness) => table.Receive(this);
}

/// <summary>Sockets of conversations that have no end of their own: kept a while after the last word. Under the network's lock.</summary>
/// <param name="reactor">Tells when they are ready.</param>
/// <param name="most">The most of them; one more takes the place of the one that was silent longest.</param>
/// <param name="patience">For how long one is kept after its last word, in milliseconds.</param>
/// <param name="receive">Takes all that has come to a socket.</param>
internal sealed class SocketTable(Reactor reactor, int most, long patience, Action<SocketFlow> receive) : IDisposable
{
    private readonly Dictionary<Conversation, SocketFlow> _flows = [];

    /// <summary>Takes all that has come to a socket.</summary>
    public Action<SocketFlow> Receive => receive;

    /// <summary>The socket of a conversation, which is used now. Null if there is none yet.</summary>
    public SocketFlow? Find(in Conversation conversation)
    {
        if (!_flows.TryGetValue(conversation, out SocketFlow? flow))
        {
            return null;
        }

        flow.LastUsed = Environment.TickCount64;
        return flow;
    }

    /// <summary>Takes a socket in. Null, and the socket is closed, where the host can't wait for it.</summary>
    public SocketFlow? TryAdd(in Conversation conversation, HostSocket socket)
    {
        if (_flows.Count >= most)
        {
            Remove(_flows.Values.MinBy(f => f.LastUsed)!);
        }

        var flow = new SocketFlow(this, conversation, socket);
        if (!reactor.TryAdd(socket, flow, out ulong token))
        {
            socket.Dispose();
            return null;
        }

        _flows.Add(conversation, flow);
        flow.Token = token;
        reactor.Expect(flow.LastUsed + patience);
        return flow;
    }

    /// <summary>Ends those of which nothing was heard for long, and tells when to look again.</summary>
    public long OnTime(long now)
    {
        long next = long.MaxValue;
        foreach (SocketFlow flow in _flows.Values.ToArray())
        {
            if (now - flow.LastUsed >= patience)
            {
                Remove(flow);
            }
            else
            {
                next = Math.Min(next, flow.LastUsed + patience);
            }
        }

        return next;
    }

    /// <summary>Ends all of them.</summary>
    public void Dispose()
    {
        foreach (SocketFlow flow in _flows.Values.ToArray())
        {
            Remove(flow);
        }
    }

    private void Remove(SocketFlow flow)
    {
        reactor.Forget(flow.Token);
        flow.Socket.Dispose();
        _flows.Remove(flow.Conversation);
    }
}
