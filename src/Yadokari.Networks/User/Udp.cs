using System.Buffers.Binary;
using System.Net;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>Datagrams between the guest and the host's network (RFC 768). Under the network's lock.</summary>
internal sealed class Udp : IDisposable
{
    /// <summary>Bytes of a header.</summary>
    public const int HeaderSize = 8;

    private const int ChecksumAt = 6;
    private const long IdleTimeout = 120_000; // Milliseconds (RFC 4787, 4.3).
    private const int MaxData = ushort.MaxValue - 20 - HeaderSize;

    private readonly byte[] _datagram = new byte[HeaderSize + MaxData];
    private readonly GuestLink _link;
    private readonly Routes _routes;
    private readonly DestinationUnreachable _destinationUnreachable;
    private readonly SocketTable _table;

    /// <summary>Creates it without flows.</summary>
    public Udp(GuestLink link, Routes routes, Reactor reactor, DestinationUnreachable unreachable, in NetworkLimits limits)
    {
        (_link, _routes, _destinationUnreachable) = (link, routes, unreachable);
        _table = new SocketTable(reactor, limits.Conversations, IdleTimeout, Receive);
    }

    /// <summary>Sends a datagram of the guest. False if its destination is unreachable: the caller sends the guest an ICMP error.</summary>
    public bool OnDatagram(in Conversation conversation, ReadOnlySpan<byte> data)
    {
        SocketFlow? flow = _table.Find(conversation);
        if (flow is null)
        {
            if (!_routes.TryResolve(conversation.Other, conversation.OtherPort, out IPAddress address, out int port))
            {
                return conversation.Other.IsToMany;
            }

            HostSocket? socket = HostSocket.Open(address.AddressFamily, SocketKind.Datagram);
            if (socket is null || socket.Connect(address, port) < 0)
            {
                socket?.Dispose();
                return false;
            }

            flow = _table.TryAdd(conversation, socket);
            if (flow is null)
            {
                return false;
            }
        }

        return flow.Socket.Send(data) != HostSocket.Refused;
    }

    /// <summary>Sends a datagram to the guest.</summary>
    /// <param name="conversation">Addresses and ports of both ends.</param>
    /// <param name="datagram">The datagram; its first <see cref="HeaderSize"/> bytes are room for the UDP header, which is written here.</param>
    public void Deliver(in Conversation conversation, Span<byte> datagram)
    {
        BinaryPrimitives.WriteUInt16BigEndian(datagram, conversation.OtherPort);
        BinaryPrimitives.WriteUInt16BigEndian(datagram[2..], conversation.GuestPort);
        BinaryPrimitives.WriteUInt16BigEndian(datagram[4..], (ushort)datagram.Length);
        _link.Send(conversation.Other, conversation.Guest, GuestLink.Udp, datagram, ChecksumAt);
    }

    /// <summary>Closes flows that are idle beyond the timeout. Returns the next deadline in milliseconds.</summary>
    public long OnTimer(long now) => _table.OnTimer(now);

    /// <summary>Closes all flows.</summary>
    public void Dispose() => _table.Dispose();

    private void Receive(SocketFlow flow)
    {
        while (flow.Socket.Receive(_datagram.AsSpan(HeaderSize)) is int count && (count >= 0 || count == HostSocket.Refused))
        {
            if (count < 0)
            {
                _destinationUnreachable.SendPort(flow.Conversation);
                continue;
            }

            flow.LastUsed = Environment.TickCount64;
            Deliver(flow.Conversation, _datagram.AsSpan(0, HeaderSize + count));
        }
    }
}
