namespace Yadokari.Disks;

/// <summary>What an image says of itself.</summary>
/// <param name="Path">The file.</param>
/// <param name="Format">Its format.</param>
/// <param name="Size">Bytes of the disk.</param>
/// <param name="Allocated">Bytes of the host's disk that the file takes.</param>
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

    /// <summary>Whether reference counts may be kept back.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>Whether it was not closed: it is repaired when it is opened to be written.</summary>
    public bool IsDirty { get; init; }

    /// <summary>Whether it is marked as corrupt: it is not to be written.</summary>
    public bool IsCorrupt { get; init; }

    /// <summary>What it builds on, as it says; null for nothing.</summary>
    public string? Backing { get; init; }

    /// <summary>Where that is.</summary>
    public string? BackingPath { get; init; }

    /// <summary>The format of that; null where it does not say.</summary>
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
/// <param name="Errors">Counts that are too low, flags that are wrong, entries that refer to nothing: data may be lost.</param>
/// <param name="Leaks">Clusters that nothing refers to: only room is lost.</param>
/// <param name="Allocated">Clusters of the disk that the image has.</param>
/// <param name="Compressed">Those of them that are compressed.</param>
/// <param name="End">Bytes of the file that are in use.</param>
/// <param name="Messages">The first few findings.</param>
public sealed record DiskCheck(long Errors, long Leaks, long Allocated, long Compressed, long End, IReadOnlyList<string> Messages);
