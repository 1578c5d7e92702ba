using System.Net;
using System.Net.Sockets;

namespace Yadokari.Networks.User;

/// <summary>
/// The addresses of the virtual network, and the destinations of the guest's packets. Loopback, link-local, multicast and broadcast addresses are
/// not forwarded: services on loopback are the host's own (unless the user maps them), and at link-local addresses clouds serve credentials.
/// </summary>
/// <param name="hostLoopback">Whether the gateway's address is mapped to the host's loopback.</param>
internal sealed class Routes(bool hostLoopback)
{
    /// <summary>Prefix length of the IPv4 network.</summary>
    public const int PrefixLength4 = 24;

    private const string ResolverSettings = "/etc/resolv.conf";
    private const ushort DnsPort = 53;

    private DateTime _readAt;
    private IPAddress? _resolver;

    /// <summary>The gateway.</summary>
    public static IpAddress Gateway4 { get; } = IpAddress.Of("10.0.2.2");

    /// <summary>The name server.</summary>
    public static IpAddress Dns4 { get; } = IpAddress.Of("10.0.2.3");

    /// <summary>The address that DHCP assigns to the guest.</summary>
    public static IpAddress Guest4 { get; } = IpAddress.Of("10.0.2.15");

    /// <summary>The /64 prefix of the IPv6 network: a unique local one (RFC 4193).</summary>
    public static IpAddress Prefix6 { get; } = IpAddress.Of("fd79:6164:6f00::");

    /// <summary>The gateway.</summary>
    public static IpAddress Gateway6 { get; } = IpAddress.Of("fd79:6164:6f00::2");

    /// <summary>The name server.</summary>
    public static IpAddress Dns6 { get; } = IpAddress.Of("fd79:6164:6f00::3");

    /// <summary>The gateway's link-local address, the source of router advertisements.</summary>
    public static IpAddress Link6 { get; } = IpAddress.Of("fe80::2");

    /// <summary>Whether an address is one of the virtual network's own, which this process answers for.</summary>
    public static bool IsOwn(in IpAddress address) =>
        address == Gateway4 || address == Dns4 || address == Gateway6 || address == Dns6 || address == Link6;

    /// <summary>Whether the host has a route to global IPv6 addresses.</summary>
    public static bool HostHasV6
    {
        get
        {
            try
            {
                // Connecting a datagram socket sends nothing: the host only looks up the route. The address is for documentation (RFC 3849).
                using var socket = new Socket(AddressFamily.InterNetworkV6, SocketType.Dgram, ProtocolType.Udp);
                socket.Connect(IPAddress.Parse("2001:db8::1"), DnsPort);
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        }
    }

    /// <summary>The host's destination for packets of the guest to an address and port. False if it is unreachable.</summary>
    public bool TryResolve(in IpAddress to, ushort port, out IPAddress address, out int hostPort)
    {
        hostPort = port;
        address = IPAddress.None;
        if (to == Dns4 || to == Dns6)
        {
            address = port == DnsPort && Resolver() is { } resolver ? resolver : IPAddress.None;
        }
        else if (to == Gateway4 || to == Gateway6)
        {
            address = hostLoopback ? to.IsV6 ? IPAddress.IPv6Loopback : IPAddress.Loopback : IPAddress.None;
        }
        else if (!IsOnLink(to) && !to.IsToMany && !to.IsLinkLocal && !to.IsHostsOwn)
        {
            address = to.ToNet();
        }

        return !address.Equals(IPAddress.None);
    }

    private static bool IsOnLink(in IpAddress address) =>
        address.IsV6 ? address.Bits >> 64 == Prefix6.Bits >> 64 : address.Bits >> (32 - PrefixLength4) == Gateway4.Bits >> (32 - PrefixLength4);

    // The first of the host's name servers (resolv.conf(5)); it may be on loopback, and may change.
    private IPAddress? Resolver()
    {
        try
        {
            DateTime changed = File.GetLastWriteTimeUtc(ResolverSettings);
            if (changed != _readAt)
            {
                _readAt = changed;
                _resolver = File.ReadLines(ResolverSettings)
                    .Select(line => line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
                    .Where(words => words is ["nameserver", _, ..])
                    .Select(words => IPAddress.TryParse(words[1], out IPAddress? address) ? address : null)
                    .FirstOrDefault(address => address is not null);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            _resolver = null;
        }

        return _resolver;
    }
}
