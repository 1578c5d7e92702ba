using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Memory;

namespace Yadokari.Disks;

/// <summary>
/// The file that holds an image, as image formats access it. Any thread, several at a time, but one at a time to change the length. A false
/// result is an I/O error of the host; the request may have been done in part then.
/// </summary>
internal interface IImageFile : IDisposable
{
    /// <summary>Bytes.</summary>
    long Length { get; }

    /// <summary>The host's file, for asynchronous reads; null if there is none, or its file system does not support RWF_NOWAIT.</summary>
    SafeFileHandle? Handle => null;

    /// <summary>Reads what lies within the file.</summary>
    bool TryRead(long offset, Span<byte> data);

    /// <summary>Scatter read of a range within the file into buffers, in order.</summary>
    bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces);

    /// <summary>Writes; extends the file if necessary.</summary>
    bool TryWrite(long offset, ReadOnlySpan<byte> data);

    /// <summary>Gather write from buffers, in order.</summary>
    bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces);

    /// <summary>Makes the file longer, by zeroes, or shorter.</summary>
    bool TrySetLength(long length);

    /// <summary>Flush: completed writes are on stable storage when this returns.</summary>
    bool TryFlush();

    /// <summary>Punches a hole: deallocates a range, which then reads as zeroes. False, and nothing changes, if the file system does not support it.</summary>
    bool TryPunch(long offset, long length);

    /// <summary>Zeroes a range without deallocating it. False, and nothing changes, if the file system does not support it.</summary>
    bool TryZero(long offset, long length);

    /// <summary>Bytes from an offset on that are known to be zeroes without reading them (a hole).</summary>
    long KnownZeroes(long offset);
}
