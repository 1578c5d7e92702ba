using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>
/// Neighbour discovery: answers solicitations for the network's own IPv6 addresses, and sends router advertisements, by which the guest
/// configures its address (SLAAC) and name server (RFC 4861; RFC 4862; RFC 8106). Under the network's lock.
/// </summary>
/// <param name="link">Sends to the guest.</param>
internal sealed class NeighbourDiscovery(GuestLink link)
{
    private const byte RouterSolicitation = 133;
    private const byte RouterAdvertisement = 134;
    private const byte NeighbourSolicitation = 135;
    private const byte NeighbourAdvertisement = 136;
    private const int ChecksumAt = 2;
    private const byte RouterSolicitedOverride = 0xE0; // Flags R, S, O.
    private const ushort RouterLifetime = 1800; // Seconds.
    private const uint PrefixLifetime = 86400;

    private static IpAddress AllNodes { get; } = IpAddress.Of("ff02::1");

    /// <summary>Handles an ICMPv6 message of the guest.</summary>
    public void OnMessage(in IpAddress from, ReadOnlySpan<byte> body)
    {
        if (body.Length >= 24 && body[0] == NeighbourSolicitation && IpAddress.Read(body[8..], isV6: true) is var target && Routes.IsOwn(target))
        {
            Advertise(target, from);
        }
        else if (body.Length >= 8 && body[0] == RouterSolicitation)
        {
            AdvertiseRouter();
        }
    }

    private void Advertise(in IpAddress target, in IpAddress to)
    {
        Span<byte> body = stackalloc byte[32];
        body.Clear();
        body[0] = NeighbourAdvertisement;
        body[4] = RouterSolicitedOverride;
        target.Write(body[8..]);
        body[24] = 2; // Target link-layer address, in units of eight bytes.
        body[25] = 1;
        GuestLink.OwnMac.CopyTo(body[26..]);
        link.Send(target, to.Bits == 0 ? AllNodes : to, GuestLink.Icmp6, body, ChecksumAt);
    }

    private void AdvertiseRouter()
    {
        // Without IPv6 on the host the router lifetime is 0, no default router: else the guest would try IPv6 first, in vain.
        Span<byte> body = stackalloc byte[16 + 32 + 24 + 8];
        body.Clear();
        body[0] = RouterAdvertisement;
        body[4] = 64; // Hop limit.
        BinaryPrimitives.WriteUInt16BigEndian(body[6..], Routes.HostHasV6 ? RouterLifetime : (ushort)0);

        Span<byte> prefix = body[16..];
        prefix[0] = 3;
        prefix[1] = 4;
        prefix[2] = 64;
        prefix[3] = 0xC0; // Flags L (on-link) and A (autonomous address configuration).
        BinaryPrimitives.WriteUInt32BigEndian(prefix[4..], PrefixLifetime);
        BinaryPrimitives.WriteUInt32BigEndian(prefix[8..], PrefixLifetime);
        Routes.Prefix6.Write(prefix[16..]);

        Span<byte> dns = body[48..];
        dns[0] = 25;
        dns[1] = 3;
        BinaryPrimitives.WriteUInt32BigEndian(dns[4..], PrefixLifetime);
        Routes.Dns6.Write(dns[8..]);

        Span<byte> source = body[72..];
        source[0] = 1;
        source[1] = 1;
        GuestLink.OwnMac.CopyTo(source[2..]);
        link.Send(Routes.Link6, AllNodes, GuestLink.Icmp6, body, ChecksumAt);
    }
}
