using System.Buffers.Binary;
using System.Net;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>
/// ICMP echo, known as ping (RFC 792; RFC 4443, 4): answers requests to the network's own addresses, and sends others by a ping socket or raw
/// socket of the host, if the host permits one. Under the network's lock.
/// </summary>
internal sealed class Echo : IDisposable
{
    private const byte Request4 = 8;
    private const byte Reply4 = 0;
    private const byte Request6 = 128;
    private const byte Reply6 = 129;
    private const int HeaderSize = 8;
    private const int ChecksumAt = 2;
    private const int IdentifierAt = 4;
    private const long IdleTimeout = 60_000; // Milliseconds.

    private readonly byte[] _packet = new byte[ushort.MaxValue];
    private readonly GuestLink _link;
    private readonly Routes _routes;
    private readonly SocketTable _table;

    /// <summary>Creates it without flows.</summary>
    public Echo(GuestLink link, Routes routes, Reactor reactor, in NetworkLimits limits)
    {
        (_link, _routes) = (link, routes);
        _table = new SocketTable(reactor, limits.Pings, IdleTimeout, Receive);
    }

    /// <summary>Whether a message is an echo request.</summary>
    public static bool IsRequest(in IpAddress to, ReadOnlySpan<byte> body) => body.Length >= HeaderSize && body[0] == (to.IsV6 ? Request6 : Request4);

    /// <summary>Handles an echo request of the guest. False if its destination is unreachable: the caller sends the guest an ICMP error.</summary>
    public bool OnRequest(in IpAddress from, in IpAddress to, ReadOnlySpan<byte> body)
    {
        Span<byte> message = _packet.AsSpan(0, body.Length);
        body.CopyTo(message);
        var conversation = new Conversation(from, BinaryPrimitives.ReadUInt16BigEndian(body[IdentifierAt..]), to, 0);
        if (Routes.IsOwn(to))
        {
            Reply(conversation, message);
            return true;
        }

        SocketFlow? flow = _table.Find(conversation);
        if (flow is null)
        {
            if (!_routes.TryResolve(to, 0, out IPAddress address, out _))
            {
                return to.IsToMany;
            }

            HostSocket? socket = HostSocket.Open(address.AddressFamily, SocketKind.Echo);
            if (socket is null)
            {
                return true; // The host permits no ping socket (net.ipv4.ping_group_range): the request is dropped.
            }

            if (socket.Connect(address, 0) < 0)
            {
                socket.Dispose();
                return false;
            }

            flow = _table.TryAdd(conversation, socket);
            if (flow is null)
            {
                return false;
            }
        }

        BinaryPrimitives.WriteUInt16BigEndian(message[ChecksumAt..], 0);
        if (!to.IsV6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(message[ChecksumAt..], Checksum.Finish(Checksum.Add(0, message)));
        }

        flow.Socket.Send(message);
        return true;
    }

    /// <summary>Closes flows that are idle beyond the timeout. Returns the next deadline in milliseconds.</summary>
    public long OnTimer(long now) => _table.OnTimer(now);

    /// <summary>Closes all flows.</summary>
    public void Dispose() => _table.Dispose();

    private void Receive(SocketFlow flow)
    {
        while (flow.Socket.Receive(_packet) is int count && count > 0)
        {
            Span<byte> reply = _packet.AsSpan(0, count);
            bool isV6 = flow.Conversation.Guest.IsV6;
            if (flow.Socket.IsRaw && !isV6)
            {
                reply = reply[Math.Min(count, (reply[0] & 15) * 4)..];
            }

            // The kernel sets the identifier of a ping socket; a raw socket receives every echo reply of the host.
            ushort identifier = flow.Conversation.GuestPort;
            if (reply.Length >= HeaderSize && reply[0] == (isV6 ? Reply6 : Reply4)
                && (!flow.Socket.IsRaw || BinaryPrimitives.ReadUInt16BigEndian(reply[IdentifierAt..]) == identifier))
            {
                flow.LastUsed = Environment.TickCount64;
                BinaryPrimitives.WriteUInt16BigEndian(reply[IdentifierAt..], identifier);
                Reply(flow.Conversation, reply);
            }
        }
    }

    private void Reply(in Conversation conversation, Span<byte> message)
    {
        bool isV6 = conversation.Guest.IsV6;
        message[0] = isV6 ? Reply6 : Reply4;
        _link.Send(conversation.Other, conversation.Guest, isV6 ? GuestLink.Icmp6 : GuestLink.Icmp4, message, ChecksumAt);
    }
}
