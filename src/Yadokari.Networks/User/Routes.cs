using System.Net;
using System.Net.Sockets;

namespace Yadokari.Networks.User;

/// <summary>
/// The guest's little network, and where its packets go. What means the host itself, a link, or many is not passed on: the first is the host's
/// own business (unless it was said otherwise), and link-local addresses are where clouds hand out credentials.
/// </summary>
/// <param name="hostLoopback">Whether the gateway's address stands for the host's loopback.</param>
internal sealed class Routes(bool hostLoopback)
{
    /// <summary>Bits of the IPv4 network's prefix.</summary>
    public const int PrefixLength4 = 24;

    private const string ResolverSettings = "/etc/resolv.conf";
    private const ushort DnsPort = 53;

    private DateTime _readAt;
    private IPAddress? _resolver;

    /// <summary>The gateway.</summary>
    public static IpAddress Gateway4 { get; } = IpAddress.Of("10.0.2.2");

    /// <summary>The name server.</summary>
    public static IpAddress Dns4 { get; } = IpAddress.Of("10.0.2.3");

    /// <summary>The guest, if it asks by DHCP.</summary>
    public static IpAddress Guest4 { get; } = IpAddress.Of("10.0.2.15");

    /// <summary>The prefix of the IPv6 network, 64 bits: a local one (RFC 4193).</summary>
    public static IpAddress Prefix6 { get; } = IpAddress.Of("fd79:6164:6f00::");

    /// <summary>The gateway.</summary>
    public static IpAddress Gateway6 { get; } = IpAddress.Of("fd79:6164:6f00::2");

    /// <summary>The name server.</summary>
    public static IpAddress Dns6 { get; } = IpAddress.Of("fd79:6164:6f00::3");

    /// <summary>The gateway on the link, as routers announce themselves.</summary>
    public static IpAddress Link6 { get; } = IpAddress.Of("fe80::2");

    /// <summary>Whether an address is one of the network's own, which answer by themselves.</summary>
    public static bool IsOwn(in IpAddress address) =>
        address == Gateway4 || address == Dns4 || address == Gateway6 || address == Dns6 || address == Link6;

    /// <summary>Whether the host can reach IPv6 addresses outside.</summary>
    public static bool HostHasV6
    {
        get
        {
            try
            {
                // Nothing is sent: the host only looks for a way. The address is for documentation (RFC 3849).
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

    /// <summary>Where what the guest sends to an address is to be sent. False if nowhere.</summary>
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

    // The first of the host's name servers (resolv.conf(5)), which may be its own, and change.
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
