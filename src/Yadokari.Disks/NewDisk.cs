namespace Yadokari.Disks;

/// <summary>Options for creating an image.</summary>
public sealed record NewDisk
{
    /// <summary>Its format.</summary>
    public DiskFormat Format { get; init; } = DiskFormat.Qcow2;

    /// <summary>Bytes of the disk, a multiple of 512; null for those of the backing file or the source.</summary>
    public long? Size { get; init; }

    /// <summary>Bytes of a cluster: a power of two from 512 to 2 MiB. For qcow2.</summary>
    public int ClusterSize { get; init; } = 64 << 10;

    /// <summary>Whether refcount updates may be delayed (lazy_refcounts): faster to flush, and rebuilt after a crash. For qcow2.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>The name of the backing file to write into the image: relative to the image's folder. For qcow2.</summary>
    public string? Backing { get; init; }

    /// <summary>The format of that; null to find it out.</summary>
    public DiskFormat? BackingFormat { get; init; }

    /// <summary>How its clusters are compressed; null for not at all. For qcow2 that is made of another image.</summary>
    public Qcow2Compression? Compression { get; init; }

    /// <summary>Whether an existing file is replaced.</summary>
    public bool Replace { get; init; }
}
