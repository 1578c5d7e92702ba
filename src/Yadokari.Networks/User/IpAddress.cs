using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Yadokari.Networks.User;

/// <summary>An address of either version as a value, so that packets make no garbage.</summary>
/// <param name="IsV6">Of which version.</param>
/// <param name="Bits">Its bits, 32 or 128.</param>
internal readonly record struct IpAddress(bool IsV6, UInt128 Bits)
{
    /// <summary>Bytes it takes in a header.</summary>
    public int Size => IsV6 ? 16 : 4;

    /// <summary>Sent to all, or to many.</summary>
    public bool IsToMany => IsV6 ? Bits >> 120 == 0xFF : Bits >> 28 is var top && (top == 0xE || top == 0xF);

    /// <summary>Means something on this link alone, which no router passes on (RFC 3927, 7; RFC 4291, 2.5.6).</summary>
    public bool IsLinkLocal => IsV6 ? Bits >> 118 == 0xFE80 >> 6 : Bits >> 16 == 0xA9FE;

    /// <summary>Means something inside one machine alone, or nothing: loopback, "this network", and IPv4's addresses in another guise.</summary>
    public bool IsHostsOwn => IsV6 ? Bits >> 32 == 0 || Bits >> 32 == 0xFFFF : Bits >> 24 == 127 || Bits >> 24 == 0;

    /// <summary>The same for the base library.</summary>
    public IPAddress ToNet()
    {
        Span<byte> bytes = stackalloc byte[16];
        Write(bytes);
        return new IPAddress(bytes[..Size]);
    }

    /// <summary>From the base library's.</summary>
    public static IpAddress Of(IPAddress address) => Read(address.GetAddressBytes(), address.AddressFamily == AddressFamily.InterNetworkV6);

    /// <summary>From text, which must be right.</summary>
    public static IpAddress Of(string text) => Of(IPAddress.Parse(text));

    /// <summary>From a header.</summary>
    public static IpAddress Read(ReadOnlySpan<byte> bytes, bool isV6) =>
        new(isV6, isV6 ? BinaryPrimitives.ReadUInt128BigEndian(bytes) : BinaryPrimitives.ReadUInt32BigEndian(bytes));

    /// <summary>Into a header.</summary>
    public void Write(Span<byte> bytes)
    {
        if (IsV6)
        {
            BinaryPrimitives.WriteUInt128BigEndian(bytes, Bits);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes, (uint)Bits);
        }
    }
}

/// <summary>The key of a flow: the guest's address and port, and those of the other end.</summary>
/// <param name="Guest">The guest's address.</param>
/// <param name="GuestPort">Its port; of echo requests, their number.</param>
/// <param name="Other">The other side's address.</param>
/// <param name="OtherPort">Its port.</param>
internal readonly record struct Conversation(IpAddress Guest, ushort GuestPort, IpAddress Other, ushort OtherPort);
