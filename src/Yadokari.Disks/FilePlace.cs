using Microsoft.Win32.SafeHandles;

namespace Yadokari.Disks;

/// <summary>Where bytes of a disk lie, in one piece, in a file of the host's. They stay there until it is given back.</summary>
/// <param name="File">The file, of which the host knows what it has in memory.</param>
/// <param name="Offset">The first byte.</param>
/// <param name="Owner">Whom to give it back to; null where the bytes never move.</param>
/// <param name="Generation">The owner's.</param>
internal readonly record struct FilePlace(SafeFileHandle File, long Offset, IPlacedDisk? Owner = null, int Generation = 0)
{
    /// <summary>Gives it back. Any thread.</summary>
    public void Leave() => Owner?.Leave(Generation);
}

/// <summary>A disk whose bytes lie in files of the host's. Any thread.</summary>
internal interface IPlacedDisk
{
    /// <summary>The file that gets what is written and whose flush is the disk's; null where a flush is more than that.</summary>
    SafeFileHandle? FlushedFile { get; }

    /// <summary>Finds the place to read a range from. False where it lies in several, or none that the host can read from with others in flight.</summary>
    bool TryPlace(long offset, long length, out FilePlace place);

    /// <summary>A place is not read from any more.</summary>
    void Leave(int generation);
}
