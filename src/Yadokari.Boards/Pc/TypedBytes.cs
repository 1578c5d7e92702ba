namespace Yadokari.Boards.Pc;

/// <summary>
/// What was typed and the guest did not take yet: 64 KiB at most, for a guest may never read, and a pipe never end. Its user locks it.
/// </summary>
internal sealed class TypedBytes
{
    /// <summary>Bytes that have room.</summary>
    public const int Capacity = 64 << 10;

    private readonly byte[] _ring = new byte[Capacity];
    private int _first;
    private int _count;

    /// <summary>The next of them: all that lie in a row, or none.</summary>
    public ReadOnlySpan<byte> Next => _ring.AsSpan(_first, Math.Min(_count, Capacity - _first));

    /// <summary>Adds as many as there is room for, and returns how many those are.</summary>
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

    /// <summary>The guest took so many of <see cref="Next"/>.</summary>
    public void Take(int count)
    {
        _first = (_first + count) % Capacity;
        _count -= count;
    }

    /// <summary>Forgets all.</summary>
    public void Clear() => _count = 0;
}
