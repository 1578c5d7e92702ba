namespace Yadokari.Disks;

/// <summary>A disk that can report zeroes without reading them.</summary>
internal interface ISparse
{
    /// <summary>How many bytes from an offset on are known to be zeroes; 0 where that is not known.</summary>
    long KnownZeroes(long offset);
}
