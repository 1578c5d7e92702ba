using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>A connected socket of the host that stands for one flow of the guest (UDP or ICMP echo).</summary>
internal sealed class SocketFlow(SocketTable table, Conversation conversation, HostSocket socket) : IReadyHandler
{
    /// <summary>Addresses and ports of both ends.</summary>
    public Conversation Conversation => conversation;

    /// <summary>The socket.</summary>
    public HostSocket Socket => socket;

    /// <summary>The socket's token in the reactor.</summary>
    public ulong Token { get; set; }

    /// <summary>When a datagram last passed, in milliseconds of <see cref="Environment.TickCount64"/>.</summary>
    public long LastUsed { get; set; } = Environment.TickCount64;

    /// <inheritdoc/>
    public void OnReady(Readiness readiness) => table.Receive(this);
}

/// <summary>Sockets of connectionless flows, closed after an idle timeout. Under the network's lock.</summary>
/// <param name="reactor">Reports readiness of the sockets.</param>
/// <param name="maxFlows">The maximum number of flows; another one evicts the least recently used.</param>
/// <param name="idleTimeout">The idle timeout in milliseconds.</param>
/// <param name="receive">Receives all datagrams that are queued at a socket.</param>
internal sealed class SocketTable(Reactor reactor, int maxFlows, long idleTimeout, Action<SocketFlow> receive) : IDisposable
{
    private readonly Dictionary<Conversation, SocketFlow> _flows = [];

    /// <summary>Receives all datagrams that are queued at a socket.</summary>
    public Action<SocketFlow> Receive => receive;

    /// <summary>Finds the flow of a conversation, and counts it as used now. Null if there is none.</summary>
    public SocketFlow? Find(in Conversation conversation)
    {
        if (!_flows.TryGetValue(conversation, out SocketFlow? flow))
        {
            return null;
        }

        flow.LastUsed = Environment.TickCount64;
        return flow;
    }

    /// <summary>Adds a flow. Null, and the socket is closed, if epoll does not take it.</summary>
    public SocketFlow? TryAdd(in Conversation conversation, HostSocket socket)
    {
        if (_flows.Count >= maxFlows)
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
        reactor.ArmTimer(flow.LastUsed + idleTimeout);
        return flow;
    }

    /// <summary>Closes flows that are idle beyond the timeout. Returns the next deadline in milliseconds.</summary>
    public long OnTimer(long now)
    {
        long next = long.MaxValue;
        foreach (SocketFlow flow in _flows.Values.ToArray())
        {
            if (now - flow.LastUsed >= idleTimeout)
            {
                Remove(flow);
            }
            else
            {
                next = Math.Min(next, flow.LastUsed + idleTimeout);
            }
        }

        return next;
    }

    /// <summary>Closes all flows.</summary>
    public void Dispose()
    {
        foreach (SocketFlow flow in _flows.Values.ToArray())
        {
            Remove(flow);
        }
    }

    private void Remove(SocketFlow flow)
    {
        reactor.Remove(flow.Token);
        flow.Socket.Dispose();
        _flows.Remove(flow.Conversation);
    }
}
