using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Yadokari.Core.Configuration;

namespace Yadokari.Networks;

/// <summary>A port of the host that is forwarded to the guest.</summary>
/// <param name="Address">The host's address.</param>
/// <param name="HostPort">Its port.</param>
/// <param name="GuestPort">The guest's.</param>
/// <param name="IsUdp">UDP, else TCP.</param>
public sealed record PortForward(IPAddress Address, int HostPort, int GuestPort, bool IsUdp = false)
{
    /// <summary>The syntax.</summary>
    public const string Shape = "[ADDRESS:]HOST:GUEST[/tcp|/udp]";

    /// <summary>Parses <see cref="Shape"/>; without an address the port is opened on the host's loopback only.</summary>
    /// <exception cref="ConfigurationException">The text does not have that syntax.</exception>
    public static PortForward Parse(string text)
    {
        string ports = text;
        bool udp = text.EndsWith("/udp", StringComparison.Ordinal);
        if (udp || text.EndsWith("/tcp", StringComparison.Ordinal))
        {
            ports = text[..^4];
        }

        int last = ports.LastIndexOf(':');
        int before = last > 0 ? ports.LastIndexOf(':', last - 1) : -1;
        IPAddress? address = IPAddress.Loopback;
        int guest = Port(ports[(last + 1)..]);
        int host = last < 0 ? 0 : Port(ports[(before + 1)..last]);
        bool named = before < 0 || IPAddress.TryParse(ports[..before].Trim('[', ']'), out address);
        return guest > 0 && host > 0 && named ? new PortForward(address!, host, guest, udp)
            : throw new ConfigurationException("", $"'{text}' names no ports", $"give {Shape}, as in 2222:22 or 0.0.0.0:8080:80");
    }

    /// <inheritdoc/>
    public override string ToString() =>
        $"{(Address.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{Address}]" : Address)}:{HostPort}:{GuestPort}{(IsUdp ? "/udp" : "")}";

    private static int Port(string text) => ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) ? port : 0;
}
