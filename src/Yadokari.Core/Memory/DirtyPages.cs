using System.Numerics;
using System.Runtime.CompilerServices;

namespace Yadokari.Core.Memory;

/// <summary>
/// Pages of guest memory that were written: a bit for each 4096 bytes from address 0 to the end of RAM. Off at first. <see cref="Note(ulong, ulong)"/> is for
/// any thread at any time, the rest for one thread at a time.
/// </summary>
public sealed class DirtyPages
{
    private ulong[]? _bits;

    internal DirtyPages(ulong end) => Words = (int)((end + (4096 * 64) - 1) / (4096 * 64));

    /// <summary>Words of 64 pages.</summary>
    public int Words { get; }

    /// <summary>Whether writes are noted.</summary>
    public bool IsNoted => _bits != null;

    /// <summary>Notes writes from now on; none so far.</summary>
    public void Start() => Volatile.Write(ref _bits, new ulong[Words]);

    /// <summary>Notes nothing any more, and forgets.</summary>
    public void Stop() => Volatile.Write(ref _bits, null);

    /// <summary>Notes a write, if it is on: by a thread that is no vCPU's, after the write. What is beyond the end of RAM is left out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Note(ulong gpa, ulong length = 1)
    {
        if (_bits is { } bits)
        {
            Note(bits, gpa, length);
        }
    }

    /// <summary>Takes what was noted, into the first <see cref="Words"/> words, and forgets it. Nothing if it is off.</summary>
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
