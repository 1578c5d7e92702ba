using Microsoft.Win32.SafeHandles;

namespace Yadokari.Disks;

/// <summary>The location of a contiguous range of a disk in a file of the host. The data is not moved until the location is released.</summary>
/// <param name="File">The file, which supports RWF_NOWAIT.</param>
/// <param name="Offset">The first byte.</param>
/// <param name="Owner">To be told of the release; null if data never moves.</param>
/// <param name="Generation">A number of the owner's, passed back at the release.</param>
internal readonly record struct FileExtent(SafeFileHandle File, long Offset, IExtentDisk? Owner = null, int Generation = 0)
{
    /// <summary>Releases it. Any thread.</summary>
    public void Release() => Owner?.ReleaseExtent(Generation);
}

/// <summary>A disk whose data lies in files of the host. Any thread.</summary>
internal interface IExtentDisk
{
    /// <summary>The file that is written to, if flushing the disk is flushing this file; null if a flush has to do more.</summary>
    SafeFileHandle? FlushedFile { get; }

    /// <summary>Locates a range for reading. False if it is not contiguous in one file, or can't be read asynchronously.</summary>
    bool TryMapExtent(long offset, long length, out FileExtent extent);

    /// <summary>Releases a location: no read from it is in flight any more.</summary>
    void ReleaseExtent(int generation);
}
