using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>Tells the guest at which link address the network's own IPv4 addresses are (RFC 826). Under the network's lock.</summary>
/// <param name="link">The way to the guest.</param>
internal sealed class Arp(GuestLink link)
{
    /// <summary>Ethernet's type of it.</summary>
    public const ushort Type = 0x0806;

    private const int Size = 28;
    private const ushort Request = 1;
    private const ushort Reply = 2;

    // For Ethernet and IPv4, of six and four bytes.
    private static ReadOnlySpan<byte> Kind => [0, 1, 8, 0, 6, 4];

    /// <summary>A message of the guest's.</summary>
    public void OnMessage(ReadOnlySpan<byte> body)
    {
        if (body.Length < Size || !body[..6].SequenceEqual(Kind) || BinaryPrimitives.ReadUInt16BigEndian(body[6..]) != Request)
        {
            return;
        }

        var asked = IpAddress.Read(body[24..], isV6: false);
        if (!Routes.IsOwn(asked))
        {
            return;
        }

        Span<byte> answer = stackalloc byte[Size];
        Kind.CopyTo(answer);
        BinaryPrimitives.WriteUInt16BigEndian(answer[6..], Reply);
        GuestLink.OwnMac.CopyTo(answer[8..]);
        asked.Write(answer[14..]);
        body[8..18].CopyTo(answer[18..]); // To whoever asked.
        link.SendRaw(Type, answer);
    }
}
