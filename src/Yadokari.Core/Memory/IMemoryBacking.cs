namespace Yadokari.Core.Memory;

/// <summary>What the host holds guest memory in, if it can be given back in part.</summary>
public interface IMemoryBacking : IDisposable
{
    /// <summary>Gives pages back: they read as zeroes until they are written again. False where the host can't.</summary>
    /// <param name="host">Host address of the first byte, a multiple of 4096.</param>
    /// <param name="length">Bytes, a multiple of 4096.</param>
    bool TryDiscard(nint host, long length);
}
