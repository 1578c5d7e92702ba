using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>A piece of guest memory.</summary>
public readonly record struct GuestBuffer(ulong Gpa, int Length);

/// <summary>
/// A request as a driver puts it into a queue: buffers for the device to read, then buffers for it to write. Made once and filled again for
/// each request. One thread at a time.
/// </summary>
public sealed class DescriptorChain
{
    /// <summary>The most buffers of one request.</summary>
    public const int MostBuffers = 4096;

    private readonly Dma _dma;
    private GuestBuffer[] _buffers = new GuestBuffer[64];
    private int _count;
    private int _readable;

    /// <summary>Makes an empty one.</summary>
    public DescriptorChain(Dma dma) => _dma = dma;

    /// <summary>What the device reads.</summary>
    public ReadOnlySpan<GuestBuffer> Readable => _buffers.AsSpan(0, _readable);

    /// <summary>What it writes.</summary>
    public ReadOnlySpan<GuestBuffer> Writable => _buffers.AsSpan(_readable, _count - _readable);

    /// <summary>Bytes to read.</summary>
    public long ReadableLength { get; private set; }

    /// <summary>Bytes to write.</summary>
    public long WritableLength { get; private set; }

    /// <summary>By which the driver knows it.</summary>
    internal ushort Id { get; set; }

    /// <summary>How many entries of a packed ring it takes.</summary>
    internal int Entries { get; set; }

    /// <summary>Copies from what the device reads. Returns how many bytes there were.</summary>
    /// <param name="offset">From the first byte to read; behind the end there is nothing.</param>
    /// <param name="data">Where to.</param>
    public int Read(long offset, Span<byte> data)
    {
        int done = 0;
        foreach ((ulong gpa, int length) in Readable)
        {
            if (offset < length && done < data.Length)
            {
                int piece = (int)Math.Min(length - offset, data.Length - done);
                if (!_dma.TryRead(gpa + (ulong)offset, data.Slice(done, piece)))
                {
                    break;
                }

                done += piece;
            }

            offset = Math.Max(0, offset - length);
        }

        return done;
    }

    /// <summary>Copies into what the device writes. Returns how many bytes had room.</summary>
    /// <param name="offset">From the first byte to write.</param>
    /// <param name="data">What to write.</param>
    public int Write(long offset, ReadOnlySpan<byte> data)
    {
        int done = 0;
        foreach ((ulong gpa, int length) in Writable)
        {
            if (offset < length && done < data.Length)
            {
                int piece = (int)Math.Min(length - offset, data.Length - done);
                if (!_dma.TryWrite(gpa + (ulong)offset, data.Slice(done, piece)))
                {
                    break;
                }

                done += piece;
            }

            offset = Math.Max(0, offset - length);
        }

        return done;
    }

    /// <summary>Each becomes what the other was.</summary>
    internal void Exchange(DescriptorChain other)
    {
        (_buffers, other._buffers) = (other._buffers, _buffers);
        (_count, other._count) = (other._count, _count);
        (_readable, other._readable) = (other._readable, _readable);
        (ReadableLength, other.ReadableLength) = (other.ReadableLength, ReadableLength);
        (WritableLength, other.WritableLength) = (other.WritableLength, WritableLength);
        (Id, other.Id) = (other.Id, Id);
        (Entries, other.Entries) = (other.Entries, Entries);
    }

    internal void Clear()
    {
        (_count, _readable, ReadableLength, WritableLength, Entries) = (0, 0, 0, 0, 0);
    }

    /// <summary>Adds a buffer. False if a driver may not do that: no RAM, too many or too long, one to read after one to write (virtio 1.2, 2.7.4.2).</summary>
    internal bool TryAdd(ulong gpa, uint length, bool writable)
    {
        if (length == 0)
        {
            return true;
        }

        if (length > int.MaxValue || _count == MostBuffers || !_dma.IsRam(gpa, length) || (!writable && _readable != _count)
            || ReadableLength + WritableLength + length > uint.MaxValue)
        {
            return false;
        }

        if (_count == _buffers.Length)
        {
            Array.Resize(ref _buffers, _count * 2);
        }

        _buffers[_count++] = new GuestBuffer(gpa, (int)length);
        if (writable)
        {
            WritableLength += length;
        }
        else
        {
            _readable = _count;
            ReadableLength += length;
        }

        return true;
    }
}
