using System.Buffers;
using System.Numerics;

namespace Yadokari.Networks.User;

/// <summary>
/// Bytes in the order they came, in a buffer that grows up to a limit and as far as a budget allows; while nothing is in it there is none. Under
/// the network's lock.
/// </summary>
/// <param name="most">The limit; a power of two.</param>
/// <param name="budget">What the buffer is taken from, but for its first <see cref="Least"/> bytes, which the owner has paid for: so many it always gets.</param>
internal sealed class ByteRing(int most, ByteBudget budget) : IDisposable
{
    /// <summary>The bytes that a ring has room for whatever others hold; a power of two.</summary>
    public const int Least = 1 << 12;

    private byte[] _bytes = [];
    private int _head;
    private int _peak; // The most bytes that were in it since it was last empty.
    private int _usual = Least; // How large the next buffer begins, so that a busy ring does not grow step by step each time.

    /// <summary>Bytes in it.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes that it has room for, or would have if it grew.</summary>
    public int Free => MostNow - Count;

    // The pool gives powers of two.
    private int MostNow => (int)Math.Min((uint)most, BitOperations.RoundUpToPowerOf2((uint)(Paid + budget.Left + 1)) / 2);

    private int Paid => Math.Max(_bytes.Length, Least);

    /// <summary>Room for the next bytes that come, as much as lies together; empty if it is full.</summary>
    public Span<byte> Room()
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

    /// <summary>The first bytes of <see cref="Room"/> came; 0 gives room back that was asked for in vain.</summary>
    public void Came(int count)
    {
        Count += count;
        _peak = Math.Max(_peak, Count);
        FreeIfEmpty();
    }

    /// <summary>Puts in as much as there is room for, and tells how much.</summary>
    public int Put(ReadOnlySpan<byte> data)
    {
        int done = 0;
        while (done < data.Length && Room() is { Length: > 0 } room)
        {
            int piece = Math.Min(room.Length, data.Length - done);
            data.Slice(done, piece).CopyTo(room);
            Came(piece);
            done += piece;
        }

        return done;
    }

    /// <summary>The first bytes, as many as lie together.</summary>
    public ReadOnlySpan<byte> First() => _bytes.AsSpan(_head, Math.Min(Count, _bytes.Length - _head));

    /// <summary>Copies bytes that are in it.</summary>
    public void CopyTo(int offset, Span<byte> data)
    {
        int at = (_head + offset) & (_bytes.Length - 1);
        int piece = Math.Min(data.Length, _bytes.Length - at);
        _bytes.AsSpan(at, piece).CopyTo(data);
        _bytes.AsSpan(0, data.Length - piece).CopyTo(data[piece..]);
    }

    /// <summary>Takes the first bytes out.</summary>
    public void Take(int count)
    {
        Count -= count;
        _head = (_head + count) & (_bytes.Length - 1);
        FreeIfEmpty();
    }

    /// <summary>Gives the buffer back; nothing is in it any more.</summary>
    public void Dispose()
    {
        Count = 0;
        FreeIfEmpty();
    }

    private void FreeIfEmpty()
    {
        if (Count == 0 && _bytes.Length > 0)
        {
            _usual = _peak > _bytes.Length / 4 ? _bytes.Length : Math.Max(Least, _bytes.Length / 4);
            budget.Give(Paid - Least);
            ArrayPool<byte>.Shared.Return(_bytes);
            (_bytes, _head, _peak) = ([], 0, 0);
        }
    }

    private void Grow()
    {
        int wanted = Math.Min(MostNow, _bytes.Length == 0 ? _usual : (int)Math.Min(most, _bytes.Length * 4L));
        if (wanted <= _bytes.Length || !budget.TryTake(wanted - Paid))
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
