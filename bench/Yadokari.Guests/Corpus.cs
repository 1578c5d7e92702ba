using System.Text;

namespace Yadokari.Guests;

/// <summary>Text to compress, sort and hash: words drawn from a vocabulary with falling frequency, the same on every run.</summary>
internal static class Corpus
{
    private const int VocabularySize = 4096;
    private const int WordsInALine = 9;

    /// <summary>About <paramref name="length"/> bytes of lines.</summary>
    public static string Text(int length)
    {
        var state = 0x9E3779B97F4A7C15ul;
        var vocabulary = new string[VocabularySize];
        for (var i = 0; i < VocabularySize; i++)
        {
            var word = new char[2 + (int)(Next(ref state) % 9)];
            for (var j = 0; j < word.Length; j++)
                word[j] = (char)('a' + (int)(Next(ref state) % 26));
            vocabulary[i] = new string(word);
        }
        var text = new StringBuilder(length + 128);
        while (text.Length < length)
        {
            for (var i = 0; i < WordsInALine; i++)
            {
                // The product of two uniform draws favours small indices, as natural text favours few words.
                var index = Next(ref state) % VocabularySize * (Next(ref state) % VocabularySize) / VocabularySize;
                text.Append(vocabulary[index]).Append(i == WordsInALine - 1 ? '\n' : ' ');
            }
        }
        return text.ToString();
    }

    // xorshift64* (Marsaglia 2003, Vigna 2016): its quality does not matter, but its sequence must never change.
    private static ulong Next(ref ulong state)
    {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return (state * 0x2545F4914F6CDD1Dul) >> 32;
    }
}
