using System.Buffers.Binary;
using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;

namespace Yadokari.Networks.User;

/// <summary>
/// A user-mode network for one guest, as QEMU's slirp, which needs no privileges on the host: a gateway that ends the guest's TCP, UDP and ICMP
/// flows and proxies them by sockets of the host. It serves DHCP and router advertisements, forwards DNS to the host's name server, and answers ping.
/// </summary>
public sealed class UserNetwork : INetwork
{
    private const byte HopByHop = 0;
    private const byte Fragment6 = 44;
    private const byte DestinationOptions = 60;
    private const byte NoNext = 59;

    private readonly Lock _lock = new(); // Guards all flows. Sockets do not block, so it is held briefly; no callback is called under it.
    private readonly GuestLink _link = new();
    private readonly Reactor _reactor = new();
    private readonly Reassembly _reassembly = new();
    private readonly Arp _arp;
    private readonly NeighbourDiscovery _neighbourDiscovery;
    private readonly DestinationUnreachable _destinationUnreachable;
    private readonly TcpTable _tcp;
    private readonly Udp _udp;
    private readonly Echo _echo;
    private readonly Dhcp _dhcp;
    private readonly Forwards _forwards;
    private readonly Thread _thread;
    private volatile bool _ends;

    /// <summary>Creates the network, opens the forwarded ports and starts its thread.</summary>
    /// <param name="forwards">Ports of the host that are forwarded to the guest.</param>
    /// <param name="hostLoopback">Whether the gateway's address is mapped to the host's loopback, so that the guest reaches services that listen only there.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="UserErrorException">A port can't be opened.</exception>
    public UserNetwork(IReadOnlyList<PortForward> forwards, bool hostLoopback = false, Action<Exception>? failed = null)
        : this(forwards, hostLoopback, NetworkLimits.OfThisProcess, failed)
    {
    }

    internal UserNetwork(IReadOnlyList<PortForward> forwards, bool hostLoopback, in NetworkLimits limits, Action<Exception>? failed = null)
    {
        var routes = new Routes(hostLoopback);
        _arp = new Arp(_link);
        _neighbourDiscovery = new NeighbourDiscovery(_link);
        _destinationUnreachable = new DestinationUnreachable(_link);
        _tcp = new TcpTable(_link, routes, _reactor, limits);
        _udp = new Udp(_link, routes, _reactor, _destinationUnreachable, limits);
        _echo = new Echo(_link, routes, _reactor, limits);
        _dhcp = new Dhcp(_udp);
        try
        {
            _forwards = new Forwards(forwards, _tcp, _udp, _reactor);
        }
        catch
        {
            _reactor.Dispose();
            throw;
        }

        _thread = HostThread.Start("network", Serve, failed);
    }

    /// <inheritdoc/>
    public int Mtu => GuestLink.Mtu;

    /// <inheritdoc/>
    public NetworkOffloads Offloads => NetworkOffloads.All;

    /// <inheritdoc/>
    public NetworkOffloads GuestOffloads
    {
        get => _link.GuestOffloads;
        set
        {
            lock (_lock)
            {
                _link.GuestOffloads = value;
            }
        }
    }

    /// <inheritdoc/>
    public Action? Arrived { get; set; }

    /// <inheritdoc/>
    public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        if (frame.Length <= GuestLink.EthernetSize)
        {
            return;
        }

        lock (_lock)
        {
            ReadOnlySpan<byte> source = frame[6..12];
            if ((source[0] & 1) == 0 && !source.SequenceEqual(_link.GuestMac))
            {
                source.CopyTo(_link.GuestMac);
            }

            ReadOnlySpan<byte> packet = frame[GuestLink.EthernetSize..];
            switch (BinaryPrimitives.ReadUInt16BigEndian(frame[12..]))
            {
                case Arp.Type:
                    _arp.OnMessage(packet);
                    break;
                case GuestLink.V4:
                    OnV4(packet);
                    break;
                case GuestLink.V6:
                    OnV6(packet);
                    break;
            }
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
        lock (_lock)
        {
            _tcp.Flush();
        }

        SignalArrival();
    }

    /// <inheritdoc/>
    public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload)
    {
        if (_link.Queue.TryPeek(out frame, out offload))
        {
            return true;
        }

        if (!_tcp.HasWaiting)
        {
            return false;
        }

        lock (_lock)
        {
            _tcp.OnQueueDrained();
        }

        return _link.Queue.TryPeek(out frame, out offload);
    }

    /// <inheritdoc/>
    public void Release() => _link.Queue.Release();

    /// <inheritdoc/>
    public void Reset()
    {
        lock (_lock)
        {
            _tcp.Dispose();
            _link.GuestOffloads = NetworkOffloads.None;
            _link.Queue.Drain();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ends = true;
        _reactor.Wake();
        _thread.Join();
        _forwards.Dispose();
        _tcp.Dispose();
        _udp.Dispose();
        _echo.Dispose();
        _reactor.Dispose();
    }

    private void Serve()
    {
        while (!_ends)
        {
            _reactor.Wait();
            for (int i = 0; i < _reactor.Count; i++)
            {
                lock (_lock)
                {
                    _reactor.Dispatch(i);
                    _tcp.Flush();
                }
            }

            lock (_lock)
            {
                long now = Environment.TickCount64;
                if (_reactor.TimerExpired(now))
                {
                    _reactor.ArmTimer(Math.Min(_tcp.OnTimer(now), Math.Min(_udp.OnTimer(now), _echo.OnTimer(now))));
                }
            }

            SignalArrival();
        }
    }

    private void SignalArrival()
    {
        if (_link.Queue.Used > 0)
        {
            Arrived?.Invoke();
        }
    }

    // RFC 791, 3.1
    private void OnV4(ReadOnlySpan<byte> packet)
    {
        int header = packet.Length < 20 ? 0 : (packet[0] & 15) * 4;
        int total = header < 20 ? 0 : BinaryPrimitives.ReadUInt16BigEndian(packet[2..]);
        if (total < header || total > packet.Length || packet[0] >> 4 != 4 || header < 20)
        {
            return;
        }

        packet = packet[..total];
        ReadOnlySpan<byte> body = packet[header..];
        var from = IpAddress.Read(packet[12..], isV6: false);
        var to = IpAddress.Read(packet[16..], isV6: false);
        ushort fragment = BinaryPrimitives.ReadUInt16BigEndian(packet[6..]);
        bool more = (fragment & 0x2000) != 0;
        int offset = (fragment & 0x1FFF) * 8;
        var key = new FragmentKey(from, to, packet[9], BinaryPrimitives.ReadUInt16BigEndian(packet[4..]));
        if ((more || offset > 0) && !_reassembly.TryAdd(key, offset, more, body, out body))
        {
            return;
        }

        if (from.Bits != 0 && !from.IsToMany)
        {
            _forwards.Guest = from;
        }

        OnPacket(packet, from, to, packet[9], body);
    }

    // RFC 8200, 3 and 4
    private void OnV6(ReadOnlySpan<byte> packet)
    {
        int total = packet.Length < 40 ? int.MaxValue : 40 + BinaryPrimitives.ReadUInt16BigEndian(packet[4..]);
        if (total > packet.Length || packet[0] >> 4 != 6)
        {
            return;
        }

        packet = packet[..total];
        ReadOnlySpan<byte> body = packet[40..];
        var from = IpAddress.Read(packet[8..], isV6: true);
        var to = IpAddress.Read(packet[24..], isV6: true);
        byte next = packet[6];
        while (next is HopByHop or DestinationOptions or Fragment6)
        {
            int length = body.Length < 8 ? int.MaxValue : next == Fragment6 ? 8 : (body[1] + 1) * 8;
            if (length > body.Length)
            {
                return;
            }

            ReadOnlySpan<byte> header = body[..length];
            body = body[length..];
            byte kind = next;
            next = header[0];
            if (kind == Fragment6)
            {
                ushort fragment = BinaryPrimitives.ReadUInt16BigEndian(header[2..]);
                var key = new FragmentKey(from, to, next, BinaryPrimitives.ReadUInt32BigEndian(header[4..]));
                if (!_reassembly.TryAdd(key, fragment & ~7, (fragment & 1) != 0, body, out body))
                {
                    return;
                }
            }
        }

        if (next != NoNext)
        {
            OnPacket(packet, from, to, next, body);
        }
    }

    private void OnPacket(ReadOnlySpan<byte> packet, in IpAddress from, in IpAddress to, byte protocol, ReadOnlySpan<byte> body)
    {
        bool reached = true;
        switch (protocol)
        {
            case GuestLink.Tcp when TcpSegment.TryRead(body, out TcpSegment segment) && !to.IsToMany:
                reached = _tcp.OnSegment(from, to, segment);
                break;
            case GuestLink.Udp when body.Length >= Udp.HeaderSize:
                reached = OnDatagram(from, to, body);
                break;
            case GuestLink.Icmp4 when !to.IsV6 && Echo.IsRequest(to, body):
            case GuestLink.Icmp6 when to.IsV6 && Echo.IsRequest(to, body):
                reached = _echo.OnRequest(from, to, body);
                break;
            case GuestLink.Icmp6 when to.IsV6:
                _neighbourDiscovery.OnMessage(from, body);
                break;
        }

        if (!reached)
        {
            _destinationUnreachable.Send(packet, from, port: protocol == GuestLink.Udp && Routes.IsOwn(to));
        }
    }

    private bool OnDatagram(in IpAddress from, in IpAddress to, ReadOnlySpan<byte> body)
    {
        var conversation = new Conversation(from, BinaryPrimitives.ReadUInt16BigEndian(body), to, BinaryPrimitives.ReadUInt16BigEndian(body[2..]));
        ReadOnlySpan<byte> data = body[Udp.HeaderSize..Math.Clamp(BinaryPrimitives.ReadUInt16BigEndian(body[4..]), Udp.HeaderSize, body.Length)];
        if (conversation.OtherPort == Dhcp.ServerPort && (to.IsToMany || to == Routes.Gateway4) && !to.IsV6)
        {
            _dhcp.OnMessage(data);
            return true;
        }

        return (to == Routes.Gateway4 && _forwards.TryReply(conversation, data)) || _udp.OnDatagram(conversation, data);
    }
}
