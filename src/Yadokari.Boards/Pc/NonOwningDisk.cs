using Yadokari.Core.Disks;
using Yadokari.Core.Memory;

namespace Yadokari.Boards.Pc;

/// <summary>Forwards to a disk, which disposing of this leaves open.</summary>
/// <param name="disk">The disk.</param>
internal sealed class NonOwningDisk(IDisk disk) : IDisk
{
    /// <inheritdoc/>
    public string Path => disk.Path;

    /// <inheritdoc/>
    public long Length => disk.Length;

    /// <inheritdoc/>
    public bool ReadOnly => disk.ReadOnly;

    /// <inheritdoc/>
    public bool TryRead(long offset, Span<byte> data) => disk.TryRead(offset, data);

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<byte> data) => disk.TryWrite(offset, data);

    /// <inheritdoc/>
    public bool TryRead(long offset, ReadOnlySpan<HostBuffer> pieces) => disk.TryRead(offset, pieces);

    /// <inheritdoc/>
    public bool TryWrite(long offset, ReadOnlySpan<HostBuffer> pieces) => disk.TryWrite(offset, pieces);

    /// <inheritdoc/>
    public bool TryFlush() => disk.TryFlush();

    /// <inheritdoc/>
    public bool TryDiscard(long offset, long length) => disk.TryDiscard(offset, length);

    /// <inheritdoc/>
    public bool TryWriteZeroes(long offset, long length, bool mayDiscard) => disk.TryWriteZeroes(offset, length, mayDiscard);

    /// <inheritdoc/>
    public IDiskQueue OpenQueue(int depth) => disk.OpenQueue(depth);

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
