namespace Yadokari;

/// <summary>Converts units of memory to bytes: <c>512.Mebibytes()</c>.</summary>
public static class ByteSizes
{
    /// <summary><paramref name="count"/> times 2^20 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The count is negative.</exception>
    public static ulong Mebibytes(this int count) => Bytes(count, 20);

    /// <summary><paramref name="count"/> times 2^30 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The count is negative.</exception>
    public static ulong Gibibytes(this int count) => Bytes(count, 30);

    private static ulong Bytes(int count, int shift)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        return (ulong)count << shift;
    }
}
