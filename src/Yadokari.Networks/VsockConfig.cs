using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Networks.Streams;

namespace Yadokari.Networks;

/// <summary>Sockets between guest and host that need no network (vsock(7)).</summary>
/// <param name="Path">The host's end: a socket of that name for connections to the guest, and <c>PATH_PORT</c> for those from it.</param>
/// <param name="Cid">The guest's address.</param>
public sealed record VsockConfig(string Path, uint Cid = VsockConfig.FirstCid)
{
    /// <summary>The lowest address of a guest: 0 to 2 are a machine's own and the host's.</summary>
    public const uint FirstCid = 3;

    /// <summary>Makes the host's end.</summary>
    /// <param name="failed">As with <see cref="HostThread.Start"/>, for its thread.</param>
    /// <exception cref="Core.UserErrorException">The socket can't be made.</exception>
    public IStreamHost Open(Action<Exception>? failed = null) => new SocketStreams(Path, failed);
}
