using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>A range of guest memory.</summary>
public readonly record struct GuestBuffer(ulong Gpa, int Length);

/// <summary>
/// A descriptor chain: device-readable buffers, followed by device-writable buffers. The object is reused for further chains. One thread at a
/// time.
/// </summary>
public sealed class DescriptorChain
{
    /// <summary>The maximum number of buffers of a chain.</summary>
    public const int MaxBuffers = 4096;

    private readonly Dma _dma;
    private GuestBuffer[] _buffers = new GuestBuffer[64];
    private int _count;
    private int _readable;

    /// <summary>Creates an empty chain.</summary>
    public DescriptorChain(Dma dma) => _dma = dma;

    /// <summary>The device-readable buffers.</summary>
    public ReadOnlySpan<GuestBuffer> Readable => _buffers.AsSpan(0, _readable);

    /// <summary>The device-writable buffers.</summary>
    public ReadOnlySpan<GuestBuffer> Writable => _buffers.AsSpan(_readable, _count - _readable);

    /// <summary>Device-readable bytes.</summary>
    public long ReadableLength { get; private set; }

    /// <summary>Device-writable bytes.</summary>
    public long WritableLength { get; private set; }

    /// <summary>The index of the head descriptor, or the buffer ID in a packed ring.</summary>
    internal ushort Id { get; set; }

    /// <summary>Entries of a packed ring that the chain occupies.</summary>
    internal int Entries { get; set; }

    /// <summary>Copies from the device-readable buffers. Returns the number of bytes copied.</summary>
    /// <param name="offset">Offset from the first device-readable byte; beyond the end no bytes are copied.</param>
    /// <param name="data">The destination.</param>
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

    /// <summary>Copies to the device-writable buffers. Returns the number of bytes copied.</summary>
    /// <param name="offset">Offset from the first device-writable byte.</param>
    /// <param name="data">The source.</param>
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

    /// <summary>Swaps the contents of two chain objects.</summary>
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

    /// <summary>Adds a buffer. False if it is invalid: not RAM, too many or too long, or a device-readable one after a device-writable one (virtio 1.2, 2.7.4.2).</summary>
    internal bool TryAdd(ulong gpa, uint length, bool writable)
    {
        if (length == 0)
        {
            return true;
        }

        if (length > int.MaxValue || _count == MaxBuffers || !_dma.IsRam(gpa, length) || (!writable && _readable != _count)
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
