using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Yadokari.Core;
using Yadokari.Linux;
using Yadokari.Networks.User;

namespace Yadokari.Networks.Tests;

/// <summary>What happens to a guest that has taken all that a network gives.</summary>
public sealed class LimitTests
{
    private const byte Syn = 2;
    private const byte Rst = 4;
    private const byte Ack = 16;

    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    [Fact]
    public void A_connection_that_the_host_can_not_wait_for_is_none()
    {
        // As with one watch too many, epoll does not take a socket that is closed.
        using var reactor = new Reactor();
        var table = new TcpTable(new GuestLink(), new Routes(hostLoopback: true), reactor, new NetworkLimits(1 << 20, 4, 4, 4));
        int left = table.Budget.Left;
        table.Accept(Closed(SocketKind.Stream), Routes.Guest4, 80, Routes.Gateway4);
        Assert.Equal(0, table.Count);
        Assert.Equal(left, table.Budget.Left);
        Assert.Equal(long.MaxValue, table.OnTimer(Environment.TickCount64));

        var conversation = new Conversation(Routes.Guest4, 1000, Routes.Gateway4, 53);
        using var sockets = new SocketTable(reactor, 4, 1000, _ => { });
        Assert.Null(sockets.TryAdd(conversation, Closed(SocketKind.Datagram)));
        Assert.Null(sockets.Find(conversation));
        Assert.ThrowsAny<UserErrorException>(() => reactor.Add(Closed(SocketKind.Datagram), new Nobody()));

        static HostSocket Closed(SocketKind kind)
        {
            HostSocket socket = HostSocket.Open(AddressFamily.InterNetwork, kind)!;
            socket.Dispose();
            return socket;
        }
    }

    private sealed class Nobody : IReadyHandler
    {
        public void OnReady(Readiness readiness)
        {
        }
    }

    [Theory]
    [InlineData(1 << 20, 3)]
    [InlineData(3 * TcpFlow.Reserve, 4096)]
    public void A_connection_too_many_is_refused_and_one_that_ends_makes_room(int bytes, int connections)
    {
        _listener.Start();
        ushort port = (ushort)((IPEndPoint)_listener.LocalEndpoint).Port;
        using var network = new UserNetwork([], hostLoopback: true, new NetworkLimits(bytes, connections, 1, 1));
        for (ushort own = 1000; own < 1003; own++)
        {
            Assert.Equal(Syn | Ack, Ask(own));
        }

        Assert.Equal(Rst | Ack, Ask(1003));
        Send(1002, Rst, 2);
        Assert.Equal(Syn | Ack, Ask(1004));
        Assert.Equal(Rst | Ack, Ask(1005));
        _listener.Stop();

        byte Ask(ushort own)
        {
            Send(own, Syn, 1);
            byte[]? answer = null;
            Assert.True(SpinWait.SpinUntil(() => (answer = Receive()) is not null, TimeSpan.FromSeconds(60)));
            Assert.Equal(own, BinaryPrimitives.ReadUInt16BigEndian(answer.AsSpan(34 + 2)));
            return answer![34 + 13];
        }

        void Send(ushort own, byte flags, byte number)
        {
            byte[] frame = [
                0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0, 0, 7, 8, 0,
                0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
                (byte)(own >> 8), (byte)own, (byte)(port >> 8), (byte)port, 0, 0, 0, number, 0, 0, 0, 0, 0x50, flags, 16, 0, 0, 0, 0, 0];
            network.Send(frame, default);
            network.Flush();
        }

        byte[]? Receive()
        {
            if (!network.TryPeek(out ReadOnlySpan<byte> frame, out _))
            {
                return null;
            }

            byte[] copy = frame.ToArray();
            network.Release();
            return copy;
        }
    }
}
