using System.Globalization;
using Yadokari.Core;
using Yadokari.Core.Configuration;

namespace Yadokari.Host.Recipes;

/// <summary>Parses and formats disk sizes: a whole number with M, G or T.</summary>
public static class DiskSize
{
    /// <summary>The smallest disk in bytes that a system fits on.</summary>
    public const ulong Least = 2UL << 30;

    /// <summary>Parses a size. Returns bytes.</summary>
    /// <param name="member">Name of the option or member, for messages.</param>
    /// <param name="text">The user's text.</param>
    /// <exception cref="UserErrorException">The text is not a size, or the size is too small or too large.</exception>
    public static long Parse(string member, string text) =>
        !ByteSize.TryParse(text, out ulong size) || !ByteSize.HasUnit(text)
            ? throw new UserErrorException($"{member} {UserText.Shown(text)} is not a size: write a whole number with M, G or T, as in 8G.")
            : size < Least ? throw new UserErrorException($"{member} {text} is too small for a system: give 2G or more.")
            : size > 16UL << 40 ? throw new UserErrorException($"{member} {text} is larger than a file can be: give 16T or less.")
            : (long)size;

    /// <summary>Formats a size with a unit.</summary>
    public static string Show(long bytes) => bytes switch
    {
        >= 1 << 30 => $"{(bytes / (double)(1 << 30)).ToString("0.#", CultureInfo.InvariantCulture)}G",
        _ => $"{bytes >> 20}M",
    };
}
