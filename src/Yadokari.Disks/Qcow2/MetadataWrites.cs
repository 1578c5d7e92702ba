namespace Yadokari.Disks.Qcow2;

/// <summary>A list of metadata writes: copies of changed metadata and their file offsets. The disk's lock is held to add one; writing them needs no lock.</summary>
internal sealed class MetadataWrites
{
    private readonly List<(long Offset, int At, int Length)> _writes = [];
    private byte[] _bytes = new byte[4096];
    private int _used;

    /// <summary>Whether there is nothing to write.</summary>
    public bool IsEmpty => _writes.Count == 0;

    /// <summary>Takes a copy.</summary>
    public void Add(long offset, ReadOnlySpan<byte> data)
    {
        if (_bytes.Length - _used < data.Length)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _used + data.Length));
        }

        data.CopyTo(_bytes.AsSpan(_used));
        _writes.Add((offset, _used, data.Length));
        _used += data.Length;
    }

    /// <summary>Writes all of it.</summary>
    public bool TryWrite(IImageFile file)
    {
        for (int i = 0; i < _writes.Count; i++)
        {
            (long offset, int at, int length) = _writes[i];
            while (i + 1 < _writes.Count && _writes[i + 1].Offset == offset + length)
            {
                length += _writes[++i].Length; // The copies lie one behind another too.
            }

            if (!file.TryWrite(offset, _bytes.AsSpan(at, length)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _writes.Clear();
        _used = 0;
    }
}
