using System.Buffers.Binary;
using System.Net;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Ports of the host that are forwarded to the guest. Under the network's lock.</summary>
internal sealed class Forwards : IDisposable
{
    private const int PermissionDenied = -13;
    private const int AddressInUse = -98;
    private const int NoSuchAddress = -99;
    private const ushort FirstEphemeral = 49152;
    private const int MaxPeers = 256;
    private const int MaxData = ushort.MaxValue - 28;

    private readonly List<HostSocket> _sockets = [];
    private readonly List<UdpPort> _udpPorts = [];
    private readonly byte[] _datagram = new byte[Udp.HeaderSize + MaxData];
    private readonly TcpTable _tcp;
    private readonly Udp _udp;
    private ushort _nextPort = FirstEphemeral;

    /// <summary>Opens the ports.</summary>
    /// <exception cref="UserErrorException">A port can't be opened; none is open then.</exception>
    public Forwards(IReadOnlyList<PortForward> forwards, TcpTable tcp, Udp udp, Reactor reactor)
    {
        (_tcp, _udp) = (tcp, udp);
        try
        {
            foreach (PortForward forward in forwards)
            {
                Open(forward, reactor);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The guest's IPv4 address: the source of its last packet, or what DHCP assigns.</summary>
    public IpAddress Guest { get; set; } = Routes.Guest4;

    private sealed class TcpPort(Forwards owner, HostSocket socket, ushort guestPort) : IReadyHandler
    {
        public void OnReady(Readiness readiness)
        {
            while (socket.Accept() is { } connection)
            {
                owner._tcp.Accept(connection, owner.Guest, guestPort, Routes.Gateway4);
            }
        }
    }

    // Each peer that sends to this port is mapped to a port of the gateway (NAPT).
    private sealed class UdpPort(Forwards owner, HostSocket socket, ushort guestPort) : IReadyHandler
    {
        private readonly Dictionary<(UInt128 Address, ushort Port), Peer> _peers = [];

        public void OnReady(Readiness readiness)
        {
            Span<byte> from = stackalloc byte[HostSocket.AddressSize];
            while (true)
            {
                from.Clear();
                int count = socket.ReceiveFrom(owner._datagram.AsSpan(Udp.HeaderSize), from);
                if (count < 0)
                {
                    return;
                }

                Peer peer = Find(from);
                peer.LastUsed = Environment.TickCount64;
                owner._udp.Deliver(new Conversation(owner.Guest, guestPort, Routes.Gateway4, peer.Port), owner._datagram.AsSpan(0, Udp.HeaderSize + count));
            }
        }

        public bool TryReply(in Conversation conversation, ReadOnlySpan<byte> data)
        {
            foreach (Peer peer in _peers.Values)
            {
                if (conversation.GuestPort == guestPort && peer.Port == conversation.OtherPort)
                {
                    socket.SendTo(data, peer.Address);
                    return true;
                }
            }

            return false;
        }

        private Peer Find(ReadOnlySpan<byte> from)
        {
            // The address is at offset 8 in struct sockaddr_in6, behind sin6_flowinfo, and at 4 in sockaddr_in.
            bool isV6 = BinaryPrimitives.ReadUInt16LittleEndian(from) == HostSocket.V6Family;
            var key = (IpAddress.Read(from[(isV6 ? 8 : 4)..], isV6).Bits, BinaryPrimitives.ReadUInt16BigEndian(from[2..]));
            if (!_peers.TryGetValue(key, out Peer? peer))
            {
                if (_peers.Count >= MaxPeers)
                {
                    _peers.Remove(_peers.MinBy(p => p.Value.LastUsed).Key);
                }

                owner._nextPort = owner._nextPort == ushort.MaxValue ? FirstEphemeral : (ushort)(owner._nextPort + 1);
                peer = new Peer(from.ToArray(), owner._nextPort);
                _peers.Add(key, peer);
            }

            return peer;
        }

        private sealed class Peer(byte[] address, ushort port)
        {
            public byte[] Address => address;

            public ushort Port => port;

            public long LastUsed { get; set; }
        }
    }

    /// <summary>Sends a datagram to the peer that a port of the gateway is mapped to. False if the port is not mapped.</summary>
    public bool TryReply(in Conversation conversation, ReadOnlySpan<byte> data)
    {
        foreach (UdpPort port in _udpPorts)
        {
            if (port.TryReply(conversation, data))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Closes the ports.</summary>
    public void Dispose() => _sockets.ForEach(s => s.Dispose());

    private void Open(PortForward forward, Reactor reactor)
    {
        HostSocket socket = HostSocket.Open(forward.Address.AddressFamily, forward.IsUdp ? SocketKind.Datagram : SocketKind.Stream)
            ?? throw new ConfigurationException("/publish", $"The host can't create a socket for {forward}", "give an address of a family that it supports");
        _sockets.Add(socket);
        int result = socket.Bind(forward.Address, forward.HostPort, shared: !forward.IsUdp);
        if (result == 0 && !forward.IsUdp)
        {
            result = socket.Listen();
        }

        if (result != 0)
        {
            (string problem, string remedy) = result switch
            {
                AddressInUse => ($"The port {forward.HostPort} of {forward} is taken on this host", "give another, or end the program that listens on it"),
                PermissionDenied => ($"The port {forward.HostPort} of {forward} is privileged on this host", "give one from 1024 on"),
                NoSuchAddress => ($"The address {forward.Address} of {forward} is not an address of this host", "give one that it has, or leave it out for 127.0.0.1"),
                _ => ($"The port {forward.HostPort} of {forward} can't be opened (errno {-result})", "give another"),
            };
            throw new ConfigurationException("/publish", problem, remedy);
        }

        if (forward.IsUdp)
        {
            var port = new UdpPort(this, socket, (ushort)forward.GuestPort);
            _udpPorts.Add(port);
            reactor.Add(socket, port);
        }
        else
        {
            reactor.Add(socket, new TcpPort(this, socket, (ushort)forward.GuestPort));
        }
    }
}
