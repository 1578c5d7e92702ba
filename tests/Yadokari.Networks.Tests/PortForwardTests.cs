using System.Net;
using Yadokari.Core;
using Yadokari.Networks.User;

namespace Yadokari.Networks.Tests;

public sealed class PortForwardTests
{
    [Theory]
    [InlineData("2222:22", "127.0.0.1", 2222, 22, false)]
    [InlineData("0.0.0.0:8080:80/tcp", "0.0.0.0", 8080, 80, false)]
    [InlineData("5353:53/udp", "127.0.0.1", 5353, 53, true)]
    [InlineData("[::1]:1:65535", "::1", 1, 65535, false)]
    public void Ports_are_read_as_they_are_written(string text, string address, int host, int guest, bool udp)
    {
        var forward = PortForward.Parse(text);
        Assert.Equal(new PortForward(IPAddress.Parse(address), host, guest, udp), forward);
        Assert.Equal(forward, PortForward.Parse(forward.ToString()));
    }

    [Theory]
    [InlineData("")]
    [InlineData("22")]
    [InlineData(":22")]
    [InlineData("22:")]
    [InlineData("0:22")]
    [InlineData("65536:22")]
    [InlineData("-1:22")]
    [InlineData("+1:22")]
    [InlineData("nowhere:1:2")]
    [InlineData(":1:2")]
    [InlineData("1:2/sctp")]
    public void What_names_no_ports_is_told(string text)
    {
        var error = Assert.ThrowsAny<UserErrorException>(() => PortForward.Parse(text));
        Assert.Contains($"'{text}'", error.Message);
        Assert.Contains(PortForward.Shape, error.Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_port_that_is_taken_is_told(bool udp)
    {
        var first = Free(udp);
        using var network = new UserNetwork([first]);
        var error = Assert.ThrowsAny<UserErrorException>(() => new UserNetwork([first]));
        Assert.Contains($"{first.HostPort}", error.Message);
        Assert.Contains("taken", error.Message);
    }

    [Fact]
    public void An_address_of_another_host_is_told()
    {
        // For documentation (RFC 5737): nobody's.
        var error = Assert.ThrowsAny<UserErrorException>(() => new UserNetwork([new PortForward(IPAddress.Parse("203.0.113.77"), 2222, 22)]));
        Assert.Contains("203.0.113.77", error.Message);
    }

    private static PortForward Free(bool udp)
    {
        using var listener = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.InterNetwork,
            udp ? System.Net.Sockets.SocketType.Dgram : System.Net.Sockets.SocketType.Stream, udp ? System.Net.Sockets.ProtocolType.Udp : System.Net.Sockets.ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return new PortForward(IPAddress.Loopback, ((IPEndPoint)listener.LocalEndPoint!).Port, 22, udp);
    }
}
