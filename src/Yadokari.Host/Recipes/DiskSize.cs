using System.Globalization;
using Yadokari.Core;
using Yadokari.Core.Configuration;

namespace Yadokari.Host.Recipes;

/// <summary>The size of a disk, as users write it: a whole number with M, G or T.</summary>
public static class DiskSize
{
    /// <summary>The least that a system fits in.</summary>
    public const ulong Least = 2UL << 30;

    /// <summary>Reads a size in bytes.</summary>
    /// <param name="member">The option or member that it was given in.</param>
    /// <param name="text">What was given.</param>
    /// <exception cref="UserErrorException">Not a size, or one that no system fits in.</exception>
    public static long Parse(string member, string text)
    {
        return !ByteSize.TryParse(text, out ulong size) || char.IsAsciiDigit(text.TrimEnd()[^1])
            ? throw new UserErrorException($"{member} {UserText.Shown(text)} is not a size: write a whole number with M, G or T, as in 8G.")
            : size < Least ? throw new UserErrorException($"{member} {text} is too little for a system: give 2G or more.")
            : size > 16UL << 40 ? throw new UserErrorException($"{member} {text} is more than a file can have: give 16T or less.")
            : (long)size;
    }

    /// <summary>A size as a person writes it.</summary>
    public static string Show(long bytes) => bytes switch
    {
        >= 1 << 30 => $"{(bytes / (double)(1 << 30)).ToString("0.#", CultureInfo.InvariantCulture)}G",
        _ => $"{bytes >> 20}M",
    };
}
