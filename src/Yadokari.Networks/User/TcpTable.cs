using System.Net;
using System.Net.Sockets;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>All connections between the guest and the host's network. Under the network's lock.</summary>
internal sealed class TcpTable : IDisposable
{
    private const ushort FirstEphemeral = 49152; // RFC 6335, 6

    private readonly Dictionary<Conversation, TcpFlow> _flows = [];
    private readonly List<TcpFlow> _toAcknowledge = [];
    private readonly List<TcpFlow> _waiting = [];
    private readonly List<TcpFlow> _snapshot = [];
    private readonly GuestLink _link;
    private readonly Routes _routes;
    private readonly Reactor _reactor;
    private readonly int _most;
    private ushort _nextPort = FirstEphemeral;

    /// <summary>Makes an empty one.</summary>
    public TcpTable(GuestLink link, Routes routes, Reactor reactor, in NetworkLimits limits)
    {
        (_link, _routes, _reactor, _most) = (link, routes, reactor, limits.Connections);
        Budget = new ByteBudget(limits.Bytes);
    }

    /// <summary>How many there are.</summary>
    public int Count => _flows.Count;

    /// <summary>What the buffers of all of them are taken from.</summary>
    public ByteBudget Budget { get; }

    /// <summary>A segment of the guest's. False if where it wants to go can't be reached, which the guest is to be told.</summary>
    public bool OnSegment(in IpAddress from, in IpAddress to, in TcpSegment segment)
    {
        var conversation = new Conversation(from, segment.SourcePort, to, segment.DestinationPort);
        if (_flows.TryGetValue(conversation, out TcpFlow? flow))
        {
            flow.OnSegment(segment);
            return true;
        }

        if (segment.Has(TcpSegment.Rst))
        {
            return true;
        }

        if (!segment.Has(TcpSegment.Syn) || segment.Has(TcpSegment.Ack))
        {
            SendReset(conversation, segment.Has(TcpSegment.Ack) ? segment.Acknowledged : 0, segment.Sequence + segment.Length);
            return true;
        }

        bool known = _routes.TryResolve(to, segment.DestinationPort, out IPAddress address, out int port);
        int result = !known || !HasPlace ? HostSocket.Refused : Connect(conversation, address, port, segment);
        bool reached = result == 0 || (result == HostSocket.Refused && (known || Routes.IsOwn(to)));
        if (reached && result != 0)
        {
            SendReset(conversation, 0, segment.Sequence + segment.Length);
        }

        return reached;
    }

    /// <summary>Somebody connected to a port of the host's that is the guest's.</summary>
    public void Accept(HostSocket socket, in IpAddress guest, ushort guestPort, in IpAddress gateway)
    {
        if (!HasPlace)
        {
            socket.Abort();
            return;
        }

        Conversation conversation;
        do
        {
            _nextPort = _nextPort == ushort.MaxValue ? FirstEphemeral : (ushort)(_nextPort + 1);
            conversation = new Conversation(guest, guestPort, gateway, _nextPort);
        }
        while (_flows.ContainsKey(conversation));

        socket.SendAtOnce();
        TryAdd(TcpFlow.FromHost(this, _link, conversation, socket), socket); // If not, the guest's answer meets no connection.
    }

    /// <summary>Sends what is owed to the guest after a number of its packets.</summary>
    public void Flush()
    {
        foreach (TcpFlow flow in _toAcknowledge)
        {
            flow.Acknowledge();
        }

        _toAcknowledge.Clear();
    }

    /// <summary>Frames have left the queue: who waited for room goes on.</summary>
    public void OnRoom()
    {
        _snapshot.Clear();
        _snapshot.AddRange(_waiting);
        _waiting.Clear();
        foreach (TcpFlow flow in _snapshot)
        {
            flow.Move();
            flow.Acknowledge();
        }
    }

    /// <summary>Whether somebody waits for room.</summary>
    public bool HasWaiting => _waiting.Count > 0;

    /// <summary>Looks at who has waited too long, and tells when to do so again, in milliseconds.</summary>
    public long OnTime(long now)
    {
        _snapshot.Clear();
        _snapshot.AddRange(_flows.Values);
        long next = long.MaxValue;
        foreach (TcpFlow flow in _snapshot)
        {
            flow.OnTime(now);
            next = Math.Min(next, flow.Deadline);
        }

        Flush();
        return next;
    }

    /// <summary>A flow has something to acknowledge.</summary>
    public void ToAcknowledge(TcpFlow flow)
    {
        if (!_toAcknowledge.Contains(flow))
        {
            _toAcknowledge.Add(flow);
        }
    }

    /// <summary>A flow found no room for a frame.</summary>
    public void WaitForRoom(TcpFlow flow)
    {
        if (!_waiting.Contains(flow))
        {
            _waiting.Add(flow);
        }
    }

    /// <summary>A flow wants to be looked at then.</summary>
    public void Expect(long deadline) => _reactor.Expect(deadline);

    /// <summary>A flow is over.</summary>
    public void Remove(TcpFlow flow)
    {
        _flows.Remove(flow.Conversation);
        Budget.Give(TcpFlow.Reserve);
        _waiting.Remove(flow);
        _reactor.Forget(flow.Token);
    }

    /// <summary>Tells the guest that there is no such connection (RFC 9293, 3.10.7.1).</summary>
    public void SendReset(in Conversation conversation, uint sequence, uint acknowledged)
    {
        if (_link.TryBegin(conversation.Guest.IsV6, TcpSegment.HeaderSize, out Span<byte> body))
        {
            TcpSegment.Write(body, conversation.OtherPort, conversation.GuestPort, sequence, acknowledged, TcpSegment.Rst | TcpSegment.Ack, 0);
            _link.End(conversation.Other, conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt);
        }
    }

    /// <summary>Ends all of them.</summary>
    public void Dispose()
    {
        foreach (TcpFlow flow in _flows.Values)
        {
            flow.Dispose();
            Budget.Give(TcpFlow.Reserve);
            _reactor.Forget(flow.Token);
        }

        _flows.Clear();
        _toAcknowledge.Clear();
        _waiting.Clear();
    }

    private int Connect(in Conversation conversation, IPAddress address, int port, in TcpSegment syn)
    {
        HostSocket? socket = HostSocket.Open(address.AddressFamily, SocketKind.Stream);
        int result = socket?.Connect(address, port) ?? HostSocket.Refused;
        if (socket is null || (result != 0 && result != HostSocket.InProgress))
        {
            socket?.Dispose();
            return result;
        }

        return TryAdd(TcpFlow.FromGuest(this, _link, conversation, socket, syn), socket) ? 0 : HostSocket.Refused;
    }

    private bool HasPlace => _flows.Count < _most && Budget.Left >= TcpFlow.Reserve;

    // A flow that can't be waited for ends with its socket: nothing would ever move it.
    private bool TryAdd(TcpFlow flow, HostSocket socket)
    {
        if (!_reactor.TryAdd(socket, flow, out ulong token))
        {
            socket.Abort();
            flow.Dispose();
            _waiting.Remove(flow);
            _toAcknowledge.Remove(flow);
            return false;
        }

        Budget.TryTake(TcpFlow.Reserve);
        _flows.Add(flow.Conversation, flow);
        flow.Token = token;
        return true;
    }
}
