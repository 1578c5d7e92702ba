namespace Yadokari;

/// <summary>Sizes of memory as one says them: <c>512.Mebibytes()</c>.</summary>
public static class ByteSizes
{
    /// <summary>So many times 2^20 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is negative.</exception>
    public static ulong Mebibytes(this int count) => Bytes(count, 20);

    /// <summary>So many times 2^30 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is negative.</exception>
    public static ulong Gibibytes(this int count) => Bytes(count, 30);

    private static ulong Bytes(int count, int shift)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        return (ulong)count << shift;
    }
}
