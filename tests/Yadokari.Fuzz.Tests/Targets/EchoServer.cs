using System.Net;
using System.Net.Sockets;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>On the host's loopback, says again what it hears, by TCP and UDP. Connections end with their other side.</summary>
internal sealed class EchoServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Socket _datagrams = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);

    public EchoServer()
    {
        _listener.Start();
        _datagrams.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _ = AcceptAsync();
        _ = AnswerAsync();
    }

    public int TcpPort => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public int UdpPort => ((IPEndPoint)_datagrams.LocalEndPoint!).Port;

    public void Dispose()
    {
        _listener.Dispose();
        _datagrams.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = EchoAsync(await _listener.AcceptSocketAsync());
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }
    }

    private static async Task EchoAsync(Socket socket)
    {
        using (socket)
        {
            try
            {
                byte[] data = new byte[4096];
                for (int read; (read = await socket.ReceiveAsync(data)) > 0;)
                {
                    await socket.SendAsync(data.AsMemory(0, read));
                }
            }
            catch (SocketException)
            {
            }
        }
    }

    private async Task AnswerAsync()
    {
        byte[] data = new byte[65_536];
        while (true)
        {
            try
            {
                SocketReceiveFromResult got = await _datagrams.ReceiveFromAsync(data, new IPEndPoint(IPAddress.Any, 0));
                await _datagrams.SendToAsync(data.AsMemory(0, got.ReceivedBytes), got.RemoteEndPoint);
            }
            catch (SocketException)
            {
                // Whoever asked has gone.
            }
            catch (ObjectDisposedException)
            {
                return;
            }
        }
    }
}
