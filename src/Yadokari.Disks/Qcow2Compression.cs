namespace Yadokari.Disks;

/// <summary>How clusters are compressed: the compression_type of a qcow2 header.</summary>
public enum Qcow2Compression : byte
{
    /// <summary>Deflate without a header, with a window of 4 KiB.</summary>
    Zlib = 0,

    /// <summary>Zstandard.</summary>
    Zstd = 1,
}
