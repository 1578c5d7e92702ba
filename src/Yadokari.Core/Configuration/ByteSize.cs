using System.Globalization;

namespace Yadokari.Core.Configuration;

/// <summary>Sizes in bytes as people write them: a whole number, and K, M, G or T for as many powers of 1024, with or without iB.</summary>
public static class ByteSize
{
    /// <summary>Reads one.</summary>
    /// <param name="text">Bytes where it has no unit.</param>
    /// <param name="bytes">The size.</param>
    /// <returns>False if it is none, or more than 64 bits can hold.</returns>
    public static bool TryParse(string text, out ulong bytes)
    {
        ReadOnlySpan<char> number = text.AsSpan().Trim();
        int letters = number.IndexOfAnyExceptInRange('0', '9');
        ReadOnlySpan<char> unit = letters < 0 ? "" : number[letters..];
        if (unit.Length == 3 && unit[1..].Equals("iB", StringComparison.OrdinalIgnoreCase))
        {
            unit = unit[..1];
        }

        int power = unit.Length == 0 ? 0 : unit.Length == 1 ? "KMGT".IndexOf(char.ToUpperInvariant(unit[0]), StringComparison.Ordinal) + 1 : 0;
        bytes = 0;
        if ((power == 0 && unit.Length > 0) || !ulong.TryParse(letters < 0 ? number : number[..letters], NumberStyles.None, CultureInfo.InvariantCulture, out ulong value))
        {
            return false;
        }

        UInt128 size = (UInt128)value << (10 * power);
        bytes = (ulong)size;
        return size <= ulong.MaxValue;
    }

    /// <summary>Whether a text that is a size has a unit.</summary>
    public static bool HasUnit(string size) => !char.IsAsciiDigit(size.AsSpan().TrimEnd()[^1]);

    /// <summary>A size as a person writes it, rounded down to mebibytes: <c>512M</c>, or <c>2G</c> where it is whole.</summary>
    public static string Show(ulong bytes) => (bytes >> 20) switch
    {
        0 => $"{bytes} bytes",
        ulong mebibytes when mebibytes % (1 << 20) == 0 => $"{mebibytes >> 20}T",
        ulong mebibytes when mebibytes % 1024 == 0 => $"{mebibytes >> 10}G",
        ulong mebibytes => $"{mebibytes}M",
    };
}
