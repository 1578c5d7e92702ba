using Yadokari.Core.Memory;

namespace Yadokari.Core.Disks;

/// <summary>
/// The backend of a guest's disk. Any thread, several at a time; ranges lie within the disk. A false result is an I/O error of the host, which is
/// reported to the guest; the request may have been done in part then.
/// </summary>
public interface IDisk : IDisposable
{
    /// <summary>Its name in messages.</summary>
    string Path { get; }

    /// <summary>Bytes.</summary>
    long Length { get; }

    /// <summary>Whether it is not to be written.</summary>
    bool ReadOnly { get; }

    /// <summary>Reads.</summary>
    bool TryRead(long offset, Span<byte> data);

    /// <summary>Writes. Visible to other threads when this returns; on stable storage after <see cref="TryFlush"/>.</summary>
    bool TryWrite(long offset, ReadOnlySpan<byte> data);

    /// <summary>Scatter read: into buffers of guest memory, in order.</summary>
    bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces)
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

    /// <summary>Gather write: from buffers of guest memory, in order.</summary>
    bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces)
    {
        foreach (HostBuffer piece in pieces)
        {
            if (!TryWrite(offset, piece.Bytes))
            {
                return false;
            }

            offset += piece.Length;
        }

        return true;
    }

    /// <summary>Flush: completed writes are on stable storage when this returns.</summary>
    bool TryFlush();

    /// <summary>Discard: deallocates a range on the host where that is possible; its content is undefined afterwards.</summary>
    bool TryDiscard(long offset, long length);

    /// <summary>Writes zeroes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">How many.</param>
    /// <param name="mayDiscard">Whether the range may be deallocated (unmapped).</param>
    bool TryWriteZeroes(long offset, long length, bool mayDiscard);

    /// <summary>Opens a request queue for use by one thread; other threads use the disk concurrently, with queues of their own or without.</summary>
    /// <param name="depth">The maximum number of requests in flight.</param>
    IDiskQueue OpenQueue(int depth) => new DirectDiskQueue(this);
}
