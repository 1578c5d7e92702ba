using System.Net;
using System.Net.Sockets;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>The table of TCP connections between the guest and the host's network. Under the network's lock.</summary>
internal sealed class TcpTable : IDisposable
{
    private const ushort FirstEphemeral = 49152; // RFC 6335, 6

    private readonly Dictionary<Conversation, TcpFlow> _flows = [];
    private readonly List<TcpFlow> _toAcknowledge = [];
    private readonly List<TcpFlow> _waitingForQueue = [];
    private readonly List<TcpFlow> _snapshot = [];
    private readonly GuestLink _link;
    private readonly Routes _routes;
    private readonly Reactor _reactor;
    private readonly int _most;
    private ushort _nextPort = FirstEphemeral;

    /// <summary>Creates an empty table.</summary>
    public TcpTable(GuestLink link, Routes routes, Reactor reactor, in NetworkLimits limits)
    {
        (_link, _routes, _reactor, _most) = (link, routes, reactor, limits.Connections);
        Budget = new ByteBudget(limits.Bytes);
    }

    /// <summary>The number of connections.</summary>
    public int Count => _flows.Count;

    /// <summary>Charged with the buffers of all connections.</summary>
    public ByteBudget Budget { get; }

    /// <summary>Handles a segment of the guest. False if its destination is unreachable: the caller sends the guest an ICMP error.</summary>
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
        int result = !known || !HasCapacity ? HostSocket.Refused : Connect(conversation, address, port, segment);
        bool reached = result == 0 || (result == HostSocket.Refused && (known || Routes.IsOwn(to)));
        if (reached && result != 0)
        {
            SendReset(conversation, 0, segment.Sequence + segment.Length);
        }

        return reached;
    }

    /// <summary>A connection was accepted on a forwarded port of the host.</summary>
    public void Accept(HostSocket socket, in IpAddress guest, ushort guestPort, in IpAddress gateway)
    {
        if (!HasCapacity)
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

        socket.DisableNagle();
        TryAdd(TcpFlow.FromHost(this, _link, conversation, socket), socket); // If it fails, the guest's SYN-ACK is answered with a RST.
    }

    /// <summary>Sends the pending ACKs, after a batch of the guest's packets.</summary>
    public void Flush()
    {
        foreach (TcpFlow flow in _toAcknowledge)
        {
            flow.Acknowledge();
        }

        _toAcknowledge.Clear();
    }

    /// <summary>Frames have left the queue: flows that waited for space send again.</summary>
    public void OnQueueDrained()
    {
        _snapshot.Clear();
        _snapshot.AddRange(_waitingForQueue);
        _waitingForQueue.Clear();
        foreach (TcpFlow flow in _snapshot)
        {
            flow.Move();
            flow.Acknowledge();
        }
    }

    /// <summary>Whether a flow waits for space in the frame queue.</summary>
    public bool HasWaiting => _waitingForQueue.Count > 0;

    /// <summary>Runs the retransmission timers of all flows. Returns the earliest next deadline in milliseconds.</summary>
    public long OnTimer(long now)
    {
        _snapshot.Clear();
        _snapshot.AddRange(_flows.Values);
        long next = long.MaxValue;
        foreach (TcpFlow flow in _snapshot)
        {
            flow.OnTimer(now);
            next = Math.Min(next, flow.Deadline);
        }

        Flush();
        return next;
    }

    /// <summary>Sends an ACK of this flow at the next <see cref="Flush"/>.</summary>
    public void ToAcknowledge(TcpFlow flow)
    {
        if (!_toAcknowledge.Contains(flow))
        {
            _toAcknowledge.Add(flow);
        }
    }

    /// <summary>The frame queue was full for this flow: it sends again at <see cref="OnQueueDrained"/>.</summary>
    public void WaitForQueue(TcpFlow flow)
    {
        if (!_waitingForQueue.Contains(flow))
        {
            _waitingForQueue.Add(flow);
        }
    }

    /// <summary>Arms the timer for a flow's deadline, in milliseconds.</summary>
    public void ArmTimer(long deadline) => _reactor.ArmTimer(deadline);

    /// <summary>Removes a closed flow.</summary>
    public void Remove(TcpFlow flow)
    {
        _flows.Remove(flow.Conversation);
        Budget.Give(TcpFlow.Reserve);
        _waitingForQueue.Remove(flow);
        _reactor.Remove(flow.Token);
    }

    /// <summary>Sends a RST to the guest, as for a segment in state CLOSED (RFC 9293, 3.10.7.1).</summary>
    public void SendReset(in Conversation conversation, uint sequence, uint acknowledged)
    {
        if (_link.TryBegin(conversation.Guest.IsV6, TcpSegment.HeaderSize, out Span<byte> body))
        {
            TcpSegment.Write(body, conversation.OtherPort, conversation.GuestPort, sequence, acknowledged, TcpSegment.Rst | TcpSegment.Ack, 0);
            _link.End(conversation.Other, conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt);
        }
    }

    /// <summary>Closes all connections. The guest is sent nothing.</summary>
    public void Dispose()
    {
        foreach (TcpFlow flow in _flows.Values)
        {
            flow.Dispose();
            Budget.Give(TcpFlow.Reserve);
            _reactor.Remove(flow.Token);
        }

        _flows.Clear();
        _toAcknowledge.Clear();
        _waitingForQueue.Clear();
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

    private bool HasCapacity => _flows.Count < _most && Budget.Left >= TcpFlow.Reserve;

    // A flow whose socket epoll does not take is closed at once: no event would ever drive it.
    private bool TryAdd(TcpFlow flow, HostSocket socket)
    {
        if (!_reactor.TryAdd(socket, flow, out ulong token))
        {
            socket.Abort();
            flow.Dispose();
            _waitingForQueue.Remove(flow);
            _toAcknowledge.Remove(flow);
            return false;
        }

        Budget.TryTake(TcpFlow.Reserve);
        _flows.Add(flow.Conversation, flow);
        flow.Token = token;
        return true;
    }
}
