using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>Answers ARP requests for the network's own IPv4 addresses (RFC 826). Under the network's lock.</summary>
/// <param name="link">Sends to the guest.</param>
internal sealed class Arp(GuestLink link)
{
    /// <summary>EtherType of ARP.</summary>
    public const ushort Type = 0x0806;

    private const int Size = 28;
    private const ushort Request = 1;
    private const ushort Reply = 2;

    // Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
    private static ReadOnlySpan<byte> HardwareAndProtocol => [0, 1, 8, 0, 6, 4];

    /// <summary>Handles an ARP message of the guest.</summary>
    public void OnMessage(ReadOnlySpan<byte> body)
    {
        if (body.Length < Size || !body[..6].SequenceEqual(HardwareAndProtocol) || BinaryPrimitives.ReadUInt16BigEndian(body[6..]) != Request)
        {
            return;
        }

        var target = IpAddress.Read(body[24..], isV6: false);
        if (!Routes.IsOwn(target))
        {
            return;
        }

        Span<byte> reply = stackalloc byte[Size];
        HardwareAndProtocol.CopyTo(reply);
        BinaryPrimitives.WriteUInt16BigEndian(reply[6..], Reply);
        GuestLink.OwnMac.CopyTo(reply[8..]);
        target.Write(reply[14..]);
        body[8..18].CopyTo(reply[18..]); // Target of the reply: the sender of the request.
        link.SendRaw(Type, reply);
    }
}
