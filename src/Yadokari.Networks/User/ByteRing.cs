using System.Buffers;
using System.Numerics;

namespace Yadokari.Networks.User;

/// <summary>
/// A ring buffer (FIFO) of bytes that grows up to a limit, as far as a budget allows; while it is empty it has no memory. Under the network's
/// lock.
/// </summary>
/// <param name="maxCapacity">The maximum capacity in bytes; a power of two.</param>
/// <param name="budget">Charged with the buffer's bytes beyond the first <see cref="MinCapacity"/>, which the owner has charged: so many it always gets.</param>
internal sealed class ByteRing(int maxCapacity, ByteBudget budget) : IDisposable
{
    /// <summary>The capacity in bytes that a ring always has, whatever other rings hold; a power of two.</summary>
    public const int MinCapacity = 1 << 12;

    private byte[] _bytes = [];
    private int _head;
    private int _maxCount; // The maximum of Count since the ring was last empty.
    private int _initialCapacity = MinCapacity; // Capacity of the next buffer, so that a busy ring does not grow step by step each time.

    /// <summary>Bytes in the ring.</summary>
    public int Count { get; private set; }

    /// <summary>Free bytes, those that it could grow by included.</summary>
    public int Free => MaxCapacityNow - Count;

    // The array pool rents arrays of powers of two.
    private int MaxCapacityNow => (int)Math.Min((uint)maxCapacity, BitOperations.RoundUpToPowerOf2((uint)(ChargedCapacity + budget.Left + 1)) / 2);

    private int ChargedCapacity => Math.Max(_bytes.Length, MinCapacity);

    /// <summary>The contiguous free space behind the last byte, to be filled before <see cref="Commit"/>; empty if the ring is full.</summary>
    public Span<byte> WritableSpan()
    {
        if (Count == _bytes.Length)
        {
            Grow();
        }

        if (Count == _bytes.Length)
        {
            return default;
        }

        int tail = (_head + Count) & (_bytes.Length - 1);
        return _bytes.AsSpan(tail, Math.Min(_bytes.Length - tail, _bytes.Length - Count));
    }

    /// <summary>Appends the first <paramref name="count"/> bytes of <see cref="WritableSpan"/>; 0 frees a buffer that was not used.</summary>
    public void Commit(int count)
    {
        Count += count;
        _maxCount = Math.Max(_maxCount, Count);
        FreeIfEmpty();
    }

    /// <summary>Appends as many bytes as there is room for. Returns how many.</summary>
    public int Put(ReadOnlySpan<byte> data)
    {
        int done = 0;
        while (done < data.Length && WritableSpan() is { Length: > 0 } room)
        {
            int piece = Math.Min(room.Length, data.Length - done);
            data.Slice(done, piece).CopyTo(room);
            Commit(piece);
            done += piece;
        }

        return done;
    }

    /// <summary>The first bytes, as many as are contiguous.</summary>
    public ReadOnlySpan<byte> ReadableSpan() => _bytes.AsSpan(_head, Math.Min(Count, _bytes.Length - _head));

    /// <summary>Copies bytes from <paramref name="offset"/> on, without removing them.</summary>
    public void CopyTo(int offset, Span<byte> data)
    {
        int at = (_head + offset) & (_bytes.Length - 1);
        int piece = Math.Min(data.Length, _bytes.Length - at);
        _bytes.AsSpan(at, piece).CopyTo(data);
        _bytes.AsSpan(0, data.Length - piece).CopyTo(data[piece..]);
    }

    /// <summary>Removes the first bytes.</summary>
    public void Take(int count)
    {
        Count -= count;
        _head = (_head + count) & (_bytes.Length - 1);
        FreeIfEmpty();
    }

    /// <summary>Discards the bytes and returns the buffer to the pool.</summary>
    public void Dispose()
    {
        Count = 0;
        FreeIfEmpty();
    }

    private void FreeIfEmpty()
    {
        if (Count == 0 && _bytes.Length > 0)
        {
            _initialCapacity = _maxCount > _bytes.Length / 4 ? _bytes.Length : Math.Max(MinCapacity, _bytes.Length / 4);
            budget.Give(ChargedCapacity - MinCapacity);
            ArrayPool<byte>.Shared.Return(_bytes);
            (_bytes, _head, _maxCount) = ([], 0, 0);
        }
    }

    private void Grow()
    {
        int wanted = Math.Min(MaxCapacityNow, _bytes.Length == 0 ? _initialCapacity : (int)Math.Min(maxCapacity, _bytes.Length * 4L));
        if (wanted <= _bytes.Length || !budget.TryTake(wanted - ChargedCapacity))
        {
            return;
        }

        byte[] larger = ArrayPool<byte>.Shared.Rent(wanted);
        CopyTo(0, larger.AsSpan(0, Count));
        if (_bytes.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(_bytes);
        }

        (_bytes, _head) = (larger, 0);
    }
}
