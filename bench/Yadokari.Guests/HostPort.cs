using System.Net;
using System.Net.Sockets;

namespace Yadokari.Guests;

/// <summary>Ports of the host's.</summary>
public static class HostPort
{
    /// <summary>A TCP port of the loopback that was free a moment ago.</summary>
    public static int Free()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
