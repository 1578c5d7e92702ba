using System.Numerics;
using System.Runtime.CompilerServices;

namespace Yadokari.Core.Memory;

/// <summary>
/// A dirty bitmap: a bit for each page of 4096 bytes from address 0 to the end of RAM. Disabled at first. <see cref="Note(ulong, ulong)"/> is for any thread at
/// any time, the rest for one thread at a time.
/// </summary>
public sealed class DirtyPages
{
    private ulong[]? _bits;

    internal DirtyPages(ulong end) => Words = (int)((end + (4096 * 64) - 1) / (4096 * 64));

    /// <summary>Words of 64 pages.</summary>
    public int Words { get; }

    /// <summary>Whether dirty logging is enabled.</summary>
    public bool IsNoted => _bits != null;

    /// <summary>Enables dirty logging, with a clear bitmap.</summary>
    public void Start() => Volatile.Write(ref _bits, new ulong[Words]);

    /// <summary>Disables dirty logging and discards the bitmap.</summary>
    public void Stop() => Volatile.Write(ref _bits, null);

    /// <summary>Marks pages dirty, if logging is enabled: on a thread that is no vCPU's, after the write. Addresses beyond the end of RAM are ignored.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Note(ulong gpa, ulong length = 1)
    {
        if (_bits is { } bits)
        {
            Note(bits, gpa, length);
        }
    }

    /// <summary>Copies the bitmap into the first <see cref="Words"/> words and clears it. Nothing if logging is disabled.</summary>
    /// <returns>How many pages.</returns>
    public long Take(Span<ulong> bitmap)
    {
        long count = 0;
        if (_bits is { } bits)
        {
            for (int i = 0; i < bits.Length; i++)
            {
                bitmap[i] = Volatile.Read(ref bits[i]) == 0 ? 0 : Interlocked.Exchange(ref bits[i], 0);
                count += BitOperations.PopCount(bitmap[i]);
            }
        }

        return count;
    }

    private static void Note(ulong[] bits, ulong gpa, ulong length)
    {
        ulong page = gpa >> 12;
        ulong end = length == 0 ? page : Math.Min((gpa + length - 1 >> 12) + 1, (ulong)bits.Length * 64);
        for (; page < end; page++)
        {
            Interlocked.Or(ref bits[page >> 6], 1ul << (int)(page & 63));
        }
    }
}
