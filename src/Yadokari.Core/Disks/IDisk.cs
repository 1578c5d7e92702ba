using Yadokari.Core.Memory;

namespace Yadokari.Core.Disks;

/// <summary>
/// What stands behind a guest's disk. Any thread, several at a time; ranges lie within the disk. A false answer is an error of the host's, which the
/// guest is told; what was asked may then be done in part.
/// </summary>
public interface IDisk : IDisposable
{
    /// <summary>What messages call it.</summary>
    string Path { get; }

    /// <summary>Bytes.</summary>
    long Length { get; }

    /// <summary>Whether it is not to be written.</summary>
    bool ReadOnly { get; }

    /// <summary>Reads.</summary>
    bool TryRead(long offset, Span<byte> data);

    /// <summary>Writes. Others see it when this returns; it is lasting after <see cref="TryFlush"/>.</summary>
    bool TryWrite(long offset, ReadOnlySpan<byte> data);

    /// <summary>Reads into pieces of guest memory, one after another.</summary>
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

    /// <summary>Writes from pieces of guest memory, one after another.</summary>
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

    /// <summary>Makes what was written before lasting: it outlives the host's end.</summary>
    bool TryFlush();

    /// <summary>Gives room back to the host where that is possible: what is read there afterwards is anything.</summary>
    bool TryDiscard(long offset, long length);

    /// <summary>Writes zeroes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">How many.</param>
    /// <param name="mayDiscard">Whether room may be given back.</param>
    bool TryWriteZeroes(long offset, long length, bool mayDiscard);

    /// <summary>Opens a queue of requests, for one thread; others go on meanwhile, with queues or without.</summary>
    /// <param name="depth">How many may be in flight at most.</param>
    IDiskQueue OpenQueue(int depth) => new DirectDiskQueue(this);
}
