namespace Yadokari.Boards.Pc;

/// <summary>
/// A ring buffer of console input that the guest has not read: 64 KiB at most, for a guest may never read, and a pipe never end. The caller locks it.
/// </summary>
internal sealed class InputBuffer
{
    /// <summary>Free bytes.</summary>
    public const int Capacity = 64 << 10;

    private readonly byte[] _ring = new byte[Capacity];
    private int _first;
    private int _count;

    /// <summary>The next bytes, as many as are contiguous.</summary>
    public ReadOnlySpan<byte> Next => _ring.AsSpan(_first, Math.Min(_count, Capacity - _first));

    /// <summary>Appends as many bytes as there is room for. Returns how many.</summary>
    public int Add(ReadOnlySpan<byte> bytes)
    {
        int added = Math.Min(bytes.Length, Capacity - _count);
        int end = (_first + _count) % Capacity;
        int straight = Math.Min(added, Capacity - end);
        bytes[..straight].CopyTo(_ring.AsSpan(end));
        bytes[straight..added].CopyTo(_ring);
        _count += added;
        return added;
    }

    /// <summary>Removes the first bytes of <see cref="Next"/>.</summary>
    public void Take(int count)
    {
        _first = (_first + count) % Capacity;
        _count -= count;
    }

    /// <summary>Discards all.</summary>
    public void Clear() => _count = 0;
}
