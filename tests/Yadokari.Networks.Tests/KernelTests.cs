using System.Diagnostics;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Security.Cryptography;
using Yadokari.Core;
using Yadokari.Core.Networks;
using Yadokari.Networks.User;

namespace Yadokari.Networks.Tests;

/// <summary>
/// The network with the host's own kernel in the guest's place: a TAP device carries the frames of one to the other, so that what is spoken here
/// is checked by TCP, UDP, ICMP and IPv6 as Linux speaks them, checksums and segmentation included.
/// </summary>
public sealed class KernelTests : IDisposable
{
    private static readonly IPAddress s_guest4 = IPAddress.Parse("10.0.2.15");
    private static readonly IPAddress s_gateway4 = IPAddress.Parse("10.0.2.2");
    private static readonly IPAddress s_guest6 = IPAddress.Parse("fd79:6164:6f00::15");
    private static readonly IPAddress s_gateway6 = IPAddress.Parse("fd79:6164:6f00::2");

    private readonly List<IDisposable> _open = [];
    private readonly string _name = $"ytest{Environment.ProcessId % 100_000}";
    private int _loses; // One frame of so many; 0 for none.
    private INetwork? _network;
    private INetwork? _tap;

    public void Dispose()
    {
        _open.ForEach(o => o.Dispose());
        _tap?.Dispose();
        _network?.Dispose();
    }

    public static TheoryData<bool, bool> Ways => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Streams_arrive_whole_both_ways(bool six, bool offloads)
    {
        Plug(offloads ? NetworkOffloads.All : NetworkOffloads.None);
        const int length = 20_000_000;
        byte[] data = RandomNumberGenerator.GetBytes(length);
        using var listener = Listen(six);
        Task<byte[]> server = Task.Run(async () =>
        {
            using Socket peer = await listener.AcceptAsync(Token);
            Task<byte[]> reading = ReadAll(peer);
            await SendAll(peer, data);
            peer.Shutdown(SocketShutdown.Send);
            return await reading;
        }, Token);
        using Socket guest = await Connect(six, ((IPEndPoint)listener.LocalEndPoint!).Port);
        Task<byte[]> received = ReadAll(guest);
        await SendAll(guest, data);
        guest.Shutdown(SocketShutdown.Send);
        Assert.True((await received).AsSpan().SequenceEqual(data));
        Assert.True((await server).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Lost_frames_are_sent_again(bool offloads)
    {
        _loses = 400; // More, and Linux waits long: its timer stays doubled until a segment comes through that was not sent twice.
        Plug(offloads ? NetworkOffloads.All : NetworkOffloads.None);
        const int length = 1_000_000;
        byte[] data = RandomNumberGenerator.GetBytes(length);
        using var listener = Listen(six: false);
        using Socket guest = await Connect(false, ((IPEndPoint)listener.LocalEndPoint!).Port);
        using Socket host = await listener.AcceptAsync(Token);
        foreach ((Socket from, Socket to) in new[] { (guest, host), (host, guest) })
        {
            Task<byte[]> reading = ReadAll(to);
            await SendAll(from, data);
            from.Shutdown(SocketShutdown.Send);
            Assert.True((await reading).AsSpan().SequenceEqual(data));
        }
    }

    [Fact]
    public async Task A_reader_that_rests_holds_the_writer_up_and_loses_nothing()
    {
        Plug(NetworkOffloads.All);
        const int length = 30_000_000;
        using var listener = Listen(six: false);
        using Socket guest = await Connect(false, ((IPEndPoint)listener.LocalEndPoint!).Port);
        using Socket host = await listener.AcceptAsync(Token);
        foreach ((Socket from, Socket to) in new[] { (guest, host), (host, guest) })
        {
            byte[] data = RandomNumberGenerator.GetBytes(length);
            Task sending = SendAll(from, data);
            await StopsTaking(from, sending);
            Assert.False(sending.IsCompleted);
            byte[] got = new byte[length];
            for (int at = 0; at < length;)
            {
                at += await to.ReceiveAsync(got.AsMemory(at), Token);
            }

            await sending;
            Assert.True(data.AsSpan().SequenceEqual(got));
        }

        // Until every window is closed.
        static async Task StopsTaking(Socket socket, Task sending)
        {
            for (int refusals = 0; refusals < 20 && !sending.IsCompleted; refusals = socket.Poll(0, SelectMode.SelectWrite) ? 0 : refusals + 1)
            {
                await Task.Delay(10, Token); // It takes nothing for as long as nobody reads: only pauses show that.
            }
        }
    }

    [Fact]
    public async Task Connections_that_share_little_memory_lose_nothing_and_one_too_many_is_refused()
    {
        const int connections = 6;
        const int length = 2_000_000;
        Plug(NetworkOffloads.All, new NetworkLimits((connections * TcpFlow.Reserve) + ByteRing.MinCapacity, connections + 1, 1, 1));
        using var listener = Listen(six: false);
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        byte[] data = RandomNumberGenerator.GetBytes(length);
        var pairs = new List<(Socket Guest, Socket Host)>();
        for (int i = 0; i < connections; i++)
        {
            pairs.Add((await Connect(false, port), await listener.AcceptAsync(Token)));
        }

        var error = await Assert.ThrowsAsync<SocketException>(() => Connect(false, port));
        Assert.Equal(SocketError.ConnectionRefused, error.SocketErrorCode);
        await Task.WhenAll(pairs.SelectMany(p => new[] { Pass(p.Guest, p.Host), Pass(p.Host, p.Guest) }));
        pairs.ForEach(p => p.Guest.Dispose());
        pairs.ForEach(p => p.Host.Dispose());

        async Task Pass(Socket from, Socket to)
        {
            Task sending = SendAll(from, data).ContinueWith(_ => from.Shutdown(SocketShutdown.Send), Token, TaskContinuationOptions.None, TaskScheduler.Default);
            Assert.True((await ReadAll(to)).AsSpan().SequenceEqual(data));
            await sending;
        }
    }

    [Fact]
    public async Task Nobody_listening_is_refused_at_once()
    {
        Plug(NetworkOffloads.All);
        int port;
        using (var listener = Listen(six: false))
        {
            port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        }

        var error = await Assert.ThrowsAsync<SocketException>(() => Connect(false, port));
        Assert.Equal(SocketError.ConnectionRefused, error.SocketErrorCode);
    }

    [Fact]
    public async Task Resets_pass_both_ways()
    {
        Plug(NetworkOffloads.All);
        using var listener = Listen(six: false);
        for (int i = 0; i < 2; i++)
        {
            using Socket guest = await Connect(false, ((IPEndPoint)listener.LocalEndPoint!).Port);
            using Socket host = await listener.AcceptAsync(Token);
            (Socket ends, Socket sees) = i == 0 ? (guest, host) : (host, guest);
            ends.LingerState = new LingerOption(true, 0);
            ends.Close();
            var error = await Assert.ThrowsAsync<SocketException>(async () => await sees.ReceiveAsync(new byte[1], Token));
            Assert.Equal(SocketError.ConnectionReset, error.SocketErrorCode);
        }
    }

    [Fact]
    public async Task Many_connections_come_and_go()
    {
        Plug(NetworkOffloads.All);
        using var listener = Listen(six: false);
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        Task server = Task.Run(async () =>
        {
            for (int i = 0; i < 400; i++)
            {
                Socket peer = await listener.AcceptAsync(Token);
                _ = Task.Run(async () =>
                {
                    using (peer)
                    {
                        byte[] got = await ReadAll(peer);
                        await SendAll(peer, got);
                    }
                }, Token);
            }
        }, Token);
        await Parallel.ForEachAsync(Enumerable.Range(0, 400), new ParallelOptions { MaxDegreeOfParallelism = 20, CancellationToken = Token }, async (i, _) =>
        {
            using Socket guest = await Connect(false, port);
            byte[] said = BitConverter.GetBytes(i);
            await SendAll(guest, said);
            guest.Shutdown(SocketShutdown.Send);
            Assert.Equal(said, await ReadAll(guest));
        });
        await server;
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 1400)]
    [InlineData(false, 40_000)] // In fragments, there and back.
    [InlineData(true, 1)]
    [InlineData(true, 40_000)]
    public async Task Datagrams_come_back_as_they_went(bool six, int length)
    {
        Plug(NetworkOffloads.All);
        using var server = Udp(six ? IPAddress.IPv6Loopback : IPAddress.Loopback);
        using var guest = Udp(six ? s_guest6 : s_guest4);
        byte[] data = RandomNumberGenerator.GetBytes(length);
        byte[] got = new byte[70_000];
        await guest.SendToAsync(data, new IPEndPoint(six ? s_gateway6 : s_gateway4, ((IPEndPoint)server.LocalEndPoint!).Port), Token);
        SocketReceiveFromResult there = await server.ReceiveFromAsync(got, new IPEndPoint(six ? IPAddress.IPv6Any : IPAddress.Any, 0), Token);
        Assert.True(data.AsSpan().SequenceEqual(got.AsSpan(0, there.ReceivedBytes)));
        await server.SendToAsync(got.AsMemory(0, there.ReceivedBytes), there.RemoteEndPoint, Token);
        SocketReceiveFromResult back = await guest.ReceiveFromAsync(got, new IPEndPoint(six ? IPAddress.IPv6Any : IPAddress.Any, 0), Token);
        Assert.True(data.AsSpan().SequenceEqual(got.AsSpan(0, back.ReceivedBytes)));
        Assert.Equal(six ? s_gateway6 : s_gateway4, ((IPEndPoint)back.RemoteEndPoint).Address);
    }

    [Fact]
    public async Task A_port_where_nobody_listens_is_told()
    {
        Plug(NetworkOffloads.All);
        int port;
        using (var taken = Udp(IPAddress.Loopback))
        {
            port = ((IPEndPoint)taken.LocalEndPoint!).Port;
        }

        using var guest = Udp(s_guest4);
        await guest.ConnectAsync(new IPEndPoint(s_gateway4, port), Token);
        await guest.SendAsync(new byte[1], Token);
        var error = await Assert.ThrowsAsync<SocketException>(async () => await guest.ReceiveAsync(new byte[1], Token));
        Assert.Equal(SocketError.ConnectionRefused, error.SocketErrorCode);
    }

    [Theory]
    [InlineData("10.0.2.2", 56)]
    [InlineData("10.0.2.2", 5000)]
    [InlineData("fd79:6164:6f00::2", 5000)]
    public void Ping_is_answered(string address, int size)
    {
        Plug(NetworkOffloads.All);
        Assert.SkipUnless(File.Exists("/usr/bin/ping") || File.Exists("/bin/ping"), "ping is not installed.");
        Run("ping", "-c", "2", "-W", "5", "-s", $"{size}", "-I", _name, address);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Ports_of_the_hosts_are_the_guests(bool udp)
    {
        int port;
        using (Socket free = udp ? Udp(IPAddress.Loopback) : Listen(six: false))
        {
            port = ((IPEndPoint)free.LocalEndPoint!).Port;
        }

        Plug(NetworkOffloads.All, new PortForward(IPAddress.Loopback, port, 7777, udp));
        byte[] got = new byte[100];
        if (udp)
        {
            using var server = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            server.Bind(new IPEndPoint(s_guest4, 7777));
            using var client = Udp(IPAddress.Loopback);
            await client.SendToAsync("there"u8.ToArray(), new IPEndPoint(IPAddress.Loopback, port), Token);
            SocketReceiveFromResult there = await server.ReceiveFromAsync(got, new IPEndPoint(IPAddress.Any, 0), Token);
            await server.SendToAsync("back"u8.ToArray(), there.RemoteEndPoint, Token);
            SocketReceiveFromResult back = await client.ReceiveFromAsync(got, new IPEndPoint(IPAddress.Any, 0), Token);
            Assert.Equal("back"u8, got.AsSpan(0, back.ReceivedBytes));
            Assert.Equal(new IPEndPoint(IPAddress.Loopback, port), back.RemoteEndPoint);
            return;
        }

        using var guest = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        guest.Bind(new IPEndPoint(s_guest4, 7777));
        guest.Listen();
        using var caller = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await caller.ConnectAsync(IPAddress.Loopback, port, Token);
        using Socket accepted = await guest.AcceptAsync(Token);
        await SendAll(accepted, "welcome"u8.ToArray());
        accepted.Shutdown(SocketShutdown.Send);
        Assert.Equal("welcome"u8.ToArray(), await ReadAll(caller));
        caller.Shutdown(SocketShutdown.Both);
        Assert.Empty(await ReadAll(accepted));
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    // Puts the kernel where a guest would be.
    private void Plug(NetworkOffloads offloads, params PortForward[] forwards) => Plug(offloads, NetworkLimits.OfThisProcess, forwards);

    private void Plug(NetworkOffloads offloads, in NetworkLimits limits, params PortForward[] forwards)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root can make a TAP device.");
        Assert.SkipUnless(File.Exists("/usr/sbin/ip") || File.Exists("/sbin/ip") || File.Exists("/bin/ip"), "ip is not installed.");
        Assert.SkipWhen(NetworkInterface.GetAllNetworkInterfaces().SelectMany(i => i.GetIPProperties().UnicastAddresses).Any(a => a.Address.Equals(s_guest4)),
            "This host has the guest's address itself.");
        try
        {
            _tap = new TapNetwork(_name);
        }
        catch (UserErrorException error)
        {
            Assert.Skip($"No TAP device: {error.Message}");
        }

        _network = new UserNetwork(forwards, hostLoopback: true, limits);
        Run("ip", "address", "add", $"{s_guest4}/24", "dev", _name);
        Run("ip", "address", "add", $"{s_guest6}/64", "dev", _name, "nodad");
        Run("ip", "link", "set", _name, "up");
        _tap.GuestOffloads = offloads;
        _network.GuestOffloads = offloads;
        Carry(_tap, _network);
        Carry(_network, _tap);
    }

    // One direction of the cable.
    private void Carry(INetwork from, INetwork to)
    {
        var arrived = new AutoResetEvent(true);
        bool ends = false;
        var random = new Random(11);
        var thread = new Thread(() =>
        {
            while (!Volatile.Read(ref ends))
            {
                bool any = false;
                while (from.TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload))
                {
                    if (_loses == 0 || random.Next(_loses) > 0)
                    {
                        to.Send(frame, offload);
                    }

                    from.Release();
                    any = true;
                }

                if (any)
                {
                    to.Flush();
                }
                else
                {
                    arrived.WaitOne();
                }
            }
        });
        from.Arrived = () => arrived.Set();
        thread.Start();
        _open.Add(new Ending(() =>
        {
            Volatile.Write(ref ends, true);
            arrived.Set();
            thread.Join();
        }));
    }

    private sealed class Ending(Action end) : IDisposable
    {
        public void Dispose() => end();
    }

    private static Socket Listen(bool six)
    {
        var socket = new Socket(six ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(six ? IPAddress.IPv6Loopback : IPAddress.Loopback, 0));
        socket.Listen();
        return socket;
    }

    private static Socket Udp(IPAddress address)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(address, 0));
        return socket;
    }

    private static async Task<Socket> Connect(bool six, int port)
    {
        var socket = new Socket(six ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(six ? s_guest6 : s_guest4, 0));
        await socket.ConnectAsync(six ? s_gateway6 : s_gateway4, port, Token);
        return socket;
    }

    private static async Task SendAll(Socket socket, byte[] data)
    {
        for (int at = 0; at < data.Length;)
        {
            at += await socket.SendAsync(data.AsMemory(at), Token);
        }
    }

    private static async Task<byte[]> ReadAll(Socket socket)
    {
        using var all = new MemoryStream();
        byte[] piece = new byte[1 << 16];
        int count;
        while ((count = await socket.ReceiveAsync(piece, Token)) > 0)
        {
            all.Write(piece, 0, count);
        }

        return all.ToArray();
    }

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        string said = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {said}");
    }
}
