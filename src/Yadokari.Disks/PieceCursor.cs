using System.Diagnostics.CodeAnalysis;
using Yadokari.Core.Memory;

namespace Yadokari.Disks;

/// <summary>Iterates over a list of buffers, splitting them where an image format needs it.</summary>
internal ref struct PieceCursor(ReadOnlySpan<HostBuffer> pieces)
{
    private ReadOnlySpan<HostBuffer> _pieces = pieces;
    private HostBuffer _cut;
    private nint _skip;

    /// <summary>Takes at most the given number of the next bytes; the result is valid until the next call.</summary>
    [UnscopedRef]
    public ReadOnlySpan<HostBuffer> Take(long length, out long taken)
    {
        // Buffers that fit are returned unsplit.
        taken = 0;
        int whole = 0;
        while (_skip == 0 && whole < _pieces.Length && _pieces[whole].Length <= length - taken)
        {
            taken += _pieces[whole++].Length;
        }

        if (whole > 0)
        {
            ReadOnlySpan<HostBuffer> uncut = _pieces[..whole];
            _pieces = _pieces[whole..];
            return uncut;
        }

        nint size = (nint)Math.Min(length, _pieces[0].Length - _skip);
        _cut = new HostBuffer(_pieces[0].Address + _skip, size);
        taken = size;
        _skip += size;
        if (_skip == _pieces[0].Length)
        {
            _skip = 0;
            _pieces = _pieces[1..];
        }

        return new ReadOnlySpan<HostBuffer>(in _cut);
    }

    /// <summary>Fills the next bytes with zeroes.</summary>
    public void Clear(long length)
    {
        while (length > 0)
        {
            ReadOnlySpan<HostBuffer> pieces = Take(length, out long taken);
            foreach (HostBuffer piece in pieces)
            {
                piece.Bytes.Clear();
            }

            length -= taken;
        }
    }

    /// <summary>Fills the next bytes.</summary>
    public void Fill(ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            foreach (HostBuffer piece in Take(data.Length, out _))
            {
                data[..(int)piece.Length].CopyTo(piece.Bytes);
                data = data[(int)piece.Length..];
            }
        }
    }
}
