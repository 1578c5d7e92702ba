namespace Yadokari.Devices.Storage;

/// <summary>Text in a drive's identification: two characters a word, the first in the upper byte, filled up with blanks (ATA/ATAPI-6, 8.15.8).</summary>
internal static class AtaText
{
    public static void Put(Span<byte> buffer, int word, int words, string text)
    {
        for (int i = 0; i < words * 2; i++)
        {
            buffer[(word * 2) + (i ^ 1)] = i < text.Length ? (byte)text[i] : (byte)' ';
        }
    }
}
