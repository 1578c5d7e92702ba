using System.Buffers.Binary;
using System.Net;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>
/// Echo requests, known as ping (RFC 792; RFC 4443, 4): those to the network's own addresses are answered here, others are sent by the host
/// where it allows that. Under the network's lock.
/// </summary>
internal sealed class Echo : IDisposable
{
    private const byte Request4 = 8;
    private const byte Reply4 = 0;
    private const byte Request6 = 128;
    private const byte Reply6 = 129;
    private const int HeaderSize = 8;
    private const int ChecksumAt = 2;
    private const int NumberAt = 4;
    private const long Patience = 60_000;

    private readonly byte[] _packet = new byte[ushort.MaxValue];
    private readonly GuestLink _link;
    private readonly Routes _routes;
    private readonly SocketTable _table;

    /// <summary>Makes one without any.</summary>
    public Echo(GuestLink link, Routes routes, Reactor reactor, in NetworkLimits limits)
    {
        (_link, _routes) = (link, routes);
        _table = new SocketTable(reactor, limits.Pings, Patience, Receive);
    }

    /// <summary>Whether a message is an echo request.</summary>
    public static bool IsRequest(in IpAddress to, ReadOnlySpan<byte> body) => body.Length >= HeaderSize && body[0] == (to.IsV6 ? Request6 : Request4);

    /// <summary>A request of the guest's. False if it can't be passed on, which the guest is to be told.</summary>
    public bool OnRequest(in IpAddress from, in IpAddress to, ReadOnlySpan<byte> body)
    {
        Span<byte> message = _packet.AsSpan(0, body.Length);
        body.CopyTo(message);
        var conversation = new Conversation(from, BinaryPrimitives.ReadUInt16BigEndian(body[NumberAt..]), to, 0);
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
                return true; // A host that does not let its users ping: no answer, as from many a machine.
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

    /// <summary>Ends those of which nothing was heard for long, and tells when to look again.</summary>
    public long OnTime(long now) => _table.OnTime(now);

    /// <summary>Ends all of them.</summary>
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

            // The kernel numbers them itself, unless the socket is raw: then all of the host's arrive.
            ushort number = flow.Conversation.GuestPort;
            if (reply.Length >= HeaderSize && reply[0] == (isV6 ? Reply6 : Reply4)
                && (!flow.Socket.IsRaw || BinaryPrimitives.ReadUInt16BigEndian(reply[NumberAt..]) == number))
            {
                flow.LastUsed = Environment.TickCount64;
                BinaryPrimitives.WriteUInt16BigEndian(reply[NumberAt..], number);
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
