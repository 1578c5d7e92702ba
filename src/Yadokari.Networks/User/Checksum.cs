using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Yadokari.Networks.User;

/// <summary>The Internet checksum (RFC 1071).</summary>
internal static class Checksum
{
    /// <summary>Adds bytes to a sum; an odd last byte is padded with zero.</summary>
    public static uint Add(uint sum, ReadOnlySpan<byte> bytes)
    {
        // Ones' complement addition is independent of byte order (RFC 1071, 2): add eight bytes at a time in host order, and swap at the end.
        ulong wide = 0;
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        foreach (ulong word in words)
        {
            wide += word;
            wide += wide < word ? 1ul : 0;
        }

        ulong folded = (wide & 0xFFFF_FFFF) + (wide >> 32);
        folded = (folded & 0xFFFF) + ((folded >> 16) & 0xFFFF) + (folded >> 32);
        bytes = bytes[(words.Length * sizeof(ulong))..];
        for (; bytes.Length > 1; bytes = bytes[2..])
        {
            folded += BinaryPrimitives.ReadUInt16LittleEndian(bytes);
        }

        if (bytes.Length > 0)
        {
            folded += bytes[0];
        }

        return sum + BinaryPrimitives.ReverseEndianness(Fold((uint)folded));
    }

    /// <summary>The sum of the pseudo header of IPv4 or IPv6 (RFC 9293, 3.1; RFC 8200, 8.1).</summary>
    public static uint Pseudo(in IpAddress from, in IpAddress to, byte protocol, int length)
    {
        Span<byte> bytes = stackalloc byte[32];
        from.Write(bytes);
        to.Write(bytes[from.Size..]);
        return Add((uint)length + protocol, bytes[..(from.Size + to.Size)]);
    }

    /// <summary>Folds the carries of a sum into 16 bits.</summary>
    public static ushort Fold(uint sum)
    {
        sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)(sum + (sum >> 16));
    }

    /// <summary>The value of the checksum field: the complement of the folded sum.</summary>
    public static ushort Finish(uint sum) => (ushort)~Fold(sum);
}
