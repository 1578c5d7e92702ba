namespace Yadokari.Core.Memory;

/// <summary>A host mapping of guest memory, parts of which can be discarded.</summary>
public interface IMemoryBacking : IDisposable
{
    /// <summary>Discards pages: they read as zeroes until they are written again. False if the host does not support it.</summary>
    /// <param name="host">Host address of the first byte, a multiple of 4096.</param>
    /// <param name="length">Bytes, a multiple of 4096.</param>
    bool TryDiscard(nint host, long length);
}
