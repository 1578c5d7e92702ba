using Yadokari.Core.Memory;

namespace Yadokari.Disks.Tests;

/// <summary>
/// An image's file that remembers what was written since the last flush, so that any end that a host may come to can be played: of what was not
/// flushed any part may have got there, in units of a sector.
/// </summary>
internal sealed class MemoryImage(byte[] contents) : IImageFile
{
    private const int Sector = 512;

    private readonly Lock _lock = new();
    private readonly List<(long Offset, byte[] Data)> _unflushed = [];
    private byte[] _bytes = (byte[])contents.Clone();
    private byte[] _flushed = (byte[])contents.Clone();
    private long _length = contents.Length;
    private long _flushedLength = contents.Length;

    /// <summary>How many bytes the file may have; writes behind fail.</summary>
    public long Room { get; set; } = long.MaxValue;

    /// <summary>How many more writes succeed.</summary>
    public long Writes { get; set; } = long.MaxValue;

    public long Length => Volatile.Read(ref _length);

    public byte[] Bytes => _bytes[..(int)_length];

    public int Unflushed => _unflushed.Count;

    /// <summary>What may be left if the host ended now.</summary>
    public byte[] Crash(Random random)
    {
        byte[] left = new byte[_bytes.Length];
        _flushed.AsSpan(0, (int)_flushedLength).CopyTo(left);
        int keep = random.Next(4);
        foreach ((long offset, byte[] data) in _unflushed)
        {
            for (int at = 0; at < data.Length;)
            {
                int piece = Math.Min(data.Length - at, Sector - (int)((offset + at) % Sector));
                if (keep == 3 || random.Next(3) < keep)
                {
                    data.AsSpan(at, piece).CopyTo(left.AsSpan((int)offset + at));
                }

                at += piece;
            }
        }

        return left[..(int)Math.Max(_flushedLength, random.Next(2) == 0 ? _length : _flushedLength)];
    }

    public bool TryRead(long offset, Span<byte> data)
    {
        lock (_lock)
        {
            if (offset + data.Length > _length)
            {
                return false;
            }

            _bytes.AsSpan((int)offset, data.Length).CopyTo(data);
            return true;
        }
    }

    public bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces)
    {
        foreach (HostBuffer piece in pieces)
        {
            if (!TryRead(offset, piece.Bytes))
            {
                return false;
            }

            offset += piece.Length;
        }

        return true;
    }

    public bool TryWrite(long offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            if (offset + data.Length > Room || Writes-- <= 0)
            {
                return false;
            }

            if (offset + data.Length > _length && !TrySetLength(offset + data.Length))
            {
                return false;
            }

            data.CopyTo(_bytes.AsSpan((int)offset));
            _unflushed.Add((offset, data.ToArray()));
            return true;
        }
    }

    // As one: a sector is never left half written.
    public bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces)
    {
        var data = new MemoryStream();
        foreach (HostBuffer piece in pieces)
        {
            data.Write(piece.Bytes);
        }

        return TryWrite(offset, data.ToArray());
    }

    // A file without room may well be made longer: by a hole.
    public bool TrySetLength(long length)
    {
        lock (_lock)
        {
            if (length > _bytes.Length)
            {
                Array.Resize(ref _bytes, (int)Math.Max(length, _bytes.Length * 2L));
            }

            Volatile.Write(ref _length, length);
            return true;
        }
    }

    public bool TryFlush()
    {
        lock (_lock)
        {
            if (_flushed.Length < _bytes.Length)
            {
                Array.Resize(ref _flushed, _bytes.Length);
            }

            foreach ((long offset, byte[] data) in _unflushed)
            {
                data.CopyTo(_flushed, offset);
            }

            _unflushed.Clear();
            _flushedLength = _length;
            return true;
        }
    }

    public bool TryPunch(long offset, long length)
    {
        lock (_lock)
        {
            length = Math.Min(length, _length - offset);
            return length > 0 && TryWrite(offset, new byte[length]);
        }
    }

    public bool TryZero(long offset, long length) => false;

    public long KnownZeroes(long offset) => 0;

    public void Dispose()
    {
    }
}
