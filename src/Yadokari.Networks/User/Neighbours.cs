using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>
/// Tells the guest where the network's own IPv6 addresses are, and that there is a router, from which it makes an address of its own and knows
/// the name server (RFC 4861; RFC 4862; RFC 8106). Under the network's lock.
/// </summary>
/// <param name="link">The way to the guest.</param>
internal sealed class Neighbours(GuestLink link)
{
    private const byte RouterSolicitation = 133;
    private const byte RouterAdvertisement = 134;
    private const byte NeighbourSolicitation = 135;
    private const byte NeighbourAdvertisement = 136;
    private const int ChecksumAt = 2;
    private const byte FromRouterAndAsked = 0xE0; // Router, solicited, override.
    private const ushort RouterLifetime = 1800; // Seconds.
    private const uint PrefixLifetime = 86400;

    private static IpAddress AllNodes { get; } = IpAddress.Of("ff02::1");

    /// <summary>A message of the guest's.</summary>
    public void OnMessage(in IpAddress from, ReadOnlySpan<byte> body)
    {
        if (body.Length >= 24 && body[0] == NeighbourSolicitation && IpAddress.Read(body[8..], isV6: true) is var asked && Routes.IsOwn(asked))
        {
            Advertise(asked, from);
        }
        else if (body.Length >= 8 && body[0] == RouterSolicitation)
        {
            AdvertiseRouter();
        }
    }

    private void Advertise(in IpAddress asked, in IpAddress to)
    {
        Span<byte> body = stackalloc byte[32];
        body.Clear();
        body[0] = NeighbourAdvertisement;
        body[4] = FromRouterAndAsked;
        asked.Write(body[8..]);
        body[24] = 2; // Target link-layer address, in units of eight bytes.
        body[25] = 1;
        GuestLink.OwnMac.CopyTo(body[26..]);
        link.Send(asked, to.Bits == 0 ? AllNodes : to, GuestLink.Icmp6, body, ChecksumAt);
    }

    private void AdvertiseRouter()
    {
        // A host that does not reach IPv6 itself is no router: the guest would try in vain first.
        Span<byte> body = stackalloc byte[16 + 32 + 24 + 8];
        body.Clear();
        body[0] = RouterAdvertisement;
        body[4] = 64; // Hop limit.
        BinaryPrimitives.WriteUInt16BigEndian(body[6..], Routes.HostHasV6 ? RouterLifetime : (ushort)0);

        Span<byte> prefix = body[16..];
        prefix[0] = 3;
        prefix[1] = 4;
        prefix[2] = 64;
        prefix[3] = 0xC0; // On this link, and to make addresses of.
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
