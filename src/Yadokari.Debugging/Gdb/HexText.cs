using System.Globalization;
using System.Text;

namespace Yadokari.Debugging.Gdb;

/// <summary>Hexadecimal numbers and byte strings as the remote protocol writes them.</summary>
internal static class HexText
{
    /// <summary>Parses an unsigned number of 1 to 16 digits.</summary>
    public static bool TryNumber(ReadOnlySpan<char> text, out ulong value)
    {
        value = 0;
        return text.Length is > 0 and <= 16 && ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    /// <summary>Parses pairs of digits; false if a digit is missing or invalid.</summary>
    public static bool TryBytes(ReadOnlySpan<char> text, out byte[] bytes)
    {
        bytes = new byte[text.Length / 2];
        return text.Length % 2 == 0 && Convert.FromHexString(text, bytes, out _, out _) == System.Buffers.OperationStatus.Done;
    }

    /// <summary>Writes bytes as pairs of lower-case digits.</summary>
    public static string FromBytes(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(bytes);

    /// <summary>Writes a text's UTF-8 as pairs of digits.</summary>
    public static string FromText(string text) => FromBytes(Encoding.UTF8.GetBytes(text));
}
