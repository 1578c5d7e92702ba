using System.Buffers;

namespace Yadokari.Networks.User;

/// <summary>Bytes in the order they came, in a buffer that grows up to a limit. Under the network's lock.</summary>
/// <param name="most">The limit; a power of two.</param>
internal sealed class ByteRing(int most) : IDisposable
{
    private const int Least = 1 << 14;

    private byte[] _bytes = [];
    private int _head;

    /// <summary>Bytes in it.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes that it has room for.</summary>
    public int Free => most - Count;

    /// <summary>Room for the next bytes that come, as much as lies together; empty if it is full.</summary>
    public Span<byte> Room()
    {
        if (Count == _bytes.Length && Count < most)
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

    /// <summary>The first bytes of <see cref="Room"/> came.</summary>
    public void Came(int count) => Count += count;

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
        _head = Count == 0 ? 0 : (_head + count) & (_bytes.Length - 1);
    }

    /// <summary>Gives the buffer back; nothing is in it any more.</summary>
    public void Dispose()
    {
        if (_bytes.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(_bytes);
        }

        (_bytes, _head, Count) = ([], 0, 0);
    }

    // The pool gives powers of two.
    private void Grow()
    {
        byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Min(most, Math.Max(Least, _bytes.Length * 4)));
        int count = Count;
        if (count > 0)
        {
            CopyTo(0, larger.AsSpan(0, count));
        }

        Dispose();
        (_bytes, Count) = (larger, count);
    }
}
