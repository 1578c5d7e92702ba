using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Yadokari.Guests.Tests;

/// <summary>Linux on the network that needs no rights: the default guest, its busybox, and servers of the test's on the host's loopback.</summary>
public sealed class NetworkTests
{
    private const int Length = 30_000_000;

    [Theory]
    [InlineData("user,host-loopback", 1)]
    [InlineData("user,host-loopback,packed", 2)]
    public async Task A_guest_finds_its_address_and_speaks_with_the_host(string network, int cpus)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        int published = HostPort.Free();
        using var vm = Guest.Start("--net", network, "--publish", $"{published}:7000", "--cpus", $"{cpus}");
        vm.Console.WaitFor("# ");
        vm.Console.Send("until grep -q nameserver /etc/resolv.conf 2>/dev/null; do sleep 1; done; ip route; cat /etc/resolv.conf; ping -c 1 10.0.2.2; until ip address | grep -q fd79:6164:6f00; do sleep 1; done; ping -c 1 fd79:6164:6f00::3");
        vm.Console.WaitFor("default via 10.0.2.2 dev eth0");
        vm.Console.WaitFor("nameserver 10.0.2.3");
        vm.Console.WaitFor("1 packets received");
        vm.Console.WaitFor("1 packets received");

        // Something goes to the guest, the same comes back.
        byte[] data = new byte[Length];
        new Random(3).NextBytes(data);
        Task<byte[]> echo = Echo(server, data);
        int port = ((IPEndPoint)server.LocalEndpoint).Port;
        vm.Console.Send($"nc 10.0.2.2 {port} </dev/null >/tmp/x; md5sum /tmp/x; nc 10.0.2.2 {port} </tmp/x; echo sent");
        vm.Console.WaitFor(Convert.ToHexStringLower(System.Security.Cryptography.MD5.HashData(data)));
        Assert.True((await echo).AsSpan().SequenceEqual(data));

        // A port of the host's is the guest's.
        vm.Console.Send("echo from the guest | nc -l -p 7000 >/tmp/heard; cat /tmp/heard; echo closed");
        Assert.Equal("from the guest\n", await Ask(published, "from outside\n"));
        vm.Console.WaitFor("from outside");
        vm.Console.Send("poweroff");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Fact]
    public void Without_the_option_the_hosts_loopback_is_out_of_reach()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        using var vm = Guest.Start();
        vm.Console.WaitFor("# ");
        vm.Console.Send($"until grep -q nameserver /etc/resolv.conf 2>/dev/null; do sleep 1; done; nc 10.0.2.2 {((IPEndPoint)server.LocalEndpoint).Port} </dev/null; echo code $?");
        vm.Console.WaitFor("Connection refused");
        vm.Console.WaitFor("code 1");
        Assert.False(server.Pending());
        vm.Console.Send("poweroff");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    private static async Task<byte[]> Echo(TcpListener server, byte[] data)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        using (Socket first = await server.AcceptSocketAsync(token))
        {
            for (int at = 0; at < data.Length;)
            {
                at += await first.SendAsync(data.AsMemory(at), token);
            }

            first.Shutdown(SocketShutdown.Send);
            await first.ReceiveAsync(new byte[1], token);
        }

        using Socket second = await server.AcceptSocketAsync(token);
        using var got = new MemoryStream();
        byte[] piece = new byte[1 << 16];
        int count;
        while (got.Length < data.Length && (count = await second.ReceiveAsync(piece, token)) > 0)
        {
            got.Write(piece, 0, count);
        }

        return got.ToArray();
    }

    // Until the guest listens, its answer is a reset.
    private static async Task<string> Ask(int port, string words)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        while (true)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                await socket.ConnectAsync(IPAddress.Loopback, port, token);
                await socket.SendAsync(Encoding.ASCII.GetBytes(words), token);
                socket.Shutdown(SocketShutdown.Send);
                byte[] answer = new byte[100];
                int count = await socket.ReceiveAsync(answer, token);
                if (count > 0)
                {
                    return Encoding.ASCII.GetString(answer, 0, count);
                }
            }
            catch (SocketException)
            {
                // Not yet.
            }

            await Task.Delay(100, token); // The guest does not tell when it listens.
        }
    }
}
