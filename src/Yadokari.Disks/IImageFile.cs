using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Memory;

namespace Yadokari.Disks;

/// <summary>
/// The file that holds an image, as far as formats need it. Any thread, several at a time, but one at a time to change the length. A false
/// answer is an error of the host's; what was asked may then be done in part.
/// </summary>
internal interface IImageFile : IDisposable
{
    /// <summary>Bytes.</summary>
    long Length { get; }

    /// <summary>The host's file, for reads that are in flight together; null where there is none, or the host can't tell what it has of it in memory.</summary>
    SafeFileHandle? Handle => null;

    /// <summary>Reads what lies within the file.</summary>
    bool TryRead(long offset, Span<byte> data);

    /// <summary>Reads what lies within the file into pieces of memory, one after another.</summary>
    bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces);

    /// <summary>Writes; a file that ends before grows.</summary>
    bool TryWrite(long offset, ReadOnlySpan<byte> data);

    /// <summary>Writes from pieces of memory, one after another.</summary>
    bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces);

    /// <summary>Makes the file longer, by zeroes, or shorter.</summary>
    bool TrySetLength(long length);

    /// <summary>Makes what was written before lasting.</summary>
    bool TryFlush();

    /// <summary>Gives the room of a range back where that is possible: it reads as zeroes then. False where it stays as it is.</summary>
    bool TryPunch(long offset, long length);

    /// <summary>Makes a range read as zeroes, its room kept. False where it stays as it is.</summary>
    bool TryZero(long offset, long length);

    /// <summary>How many bytes from an offset on are known, without looking at them, to be zeroes.</summary>
    long KnownZeroes(long offset);
}
