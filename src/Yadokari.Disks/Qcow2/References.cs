namespace Yadokari.Disks.Qcow2;

/// <summary>The number of references to each cluster of a file, stored sparsely.</summary>
internal sealed class References
{
    private const int ChunkBits = 12;

    private readonly Dictionary<long, uint[]> _chunks = [];

    /// <summary>No cluster from this one on is referred to.</summary>
    public long End { get; private set; }

    /// <summary>How often a cluster is referred to.</summary>
    public uint this[long cluster] => _chunks.TryGetValue(cluster >> ChunkBits, out uint[]? chunk) ? chunk[cluster & ((1 << ChunkBits) - 1)] : 0;

    /// <summary>The clusters that are referred to, in no order, and how often.</summary>
    public IEnumerable<(long Cluster, uint Count)> All =>
        from chunk in _chunks
        from i in Enumerable.Range(0, 1 << ChunkBits)
        where chunk.Value[i] != 0
        select ((chunk.Key << ChunkBits) + i, chunk.Value[i]);

    /// <summary>Clusters are referred to once more.</summary>
    public void Add(long cluster, long count = 1)
    {
        for (long end = cluster + count; cluster < end; cluster++)
        {
            if (!_chunks.TryGetValue(cluster >> ChunkBits, out uint[]? chunk))
            {
                chunk = new uint[1 << ChunkBits];
                _chunks[cluster >> ChunkBits] = chunk;
            }

            chunk[cluster & ((1 << ChunkBits) - 1)]++;
            End = Math.Max(End, cluster + 1);
        }
    }
}
