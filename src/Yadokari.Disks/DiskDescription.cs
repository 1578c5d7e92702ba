namespace Yadokari.Disks;

/// <summary>The metadata of an image.</summary>
/// <param name="Path">The file.</param>
/// <param name="Format">Its format.</param>
/// <param name="Size">Bytes of the disk.</param>
/// <param name="Allocated">Bytes allocated on the host's disk.</param>
public sealed record DiskDescription(string Path, DiskFormat Format, long Size, long Allocated)
{
    /// <summary>The version of qcow2, or 0.</summary>
    public int Version { get; init; }

    /// <summary>Bytes of a cluster, or 0.</summary>
    public int ClusterSize { get; init; }

    /// <summary>Bits of a reference count, or 0.</summary>
    public int RefcountBits { get; init; }

    /// <summary>How clusters are compressed.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>Whether refcount updates may be delayed (lazy_refcounts).</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>Whether it is marked dirty, since it was not closed: it is repaired when it is opened for writing.</summary>
    public bool IsDirty { get; init; }

    /// <summary>Whether it is marked as corrupt: it is not to be written.</summary>
    public bool IsCorrupt { get; init; }

    /// <summary>The name of its backing file as the image has it; null for none.</summary>
    public string? Backing { get; init; }

    /// <summary>The path of the backing file.</summary>
    public string? BackingPath { get; init; }

    /// <summary>The format of the backing file; null if the image does not name it.</summary>
    public DiskFormat? BackingFormat { get; init; }

    /// <summary>Its internal snapshots.</summary>
    public IReadOnlyList<DiskSnapshot> Snapshots { get; init; } = [];
}

/// <summary>An internal snapshot.</summary>
/// <param name="Id">Its identification.</param>
/// <param name="Name">Its name.</param>
/// <param name="Taken">When it was taken.</param>
public sealed record DiskSnapshot(string Id, string Name, DateTimeOffset Taken);

/// <summary>What a check found.</summary>
/// <param name="Errors">Refcounts that are too low, wrong COPIED flags, invalid entries: data may be lost.</param>
/// <param name="Leaks">Leaked clusters, which nothing refers to: only disk space is lost.</param>
/// <param name="Allocated">Clusters of the disk that are allocated in the image.</param>
/// <param name="Compressed">Those of them that are compressed.</param>
/// <param name="End">Bytes of the file that are in use.</param>
/// <param name="Messages">The first few findings.</param>
public sealed record DiskCheck(long Errors, long Leaks, long Allocated, long Compressed, long End, IReadOnlyList<string> Messages);
