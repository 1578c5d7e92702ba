using Yadokari.Core;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Networks.Streams;

namespace Yadokari.Networks;

/// <summary>A port of the guest's by name, such as a guest agent opens, and the socket at which programs of the host's find it.</summary>
/// <param name="Name">By which the guest knows it: <c>/dev/virtio-ports/NAME</c> in Linux.</param>
/// <param name="Path">The socket.</param>
public sealed record PortConfig(string Name, string Path)
{
    /// <summary>Makes the host's end.</summary>
    /// <param name="failed">As with <see cref="HostThread.Start"/>, for its thread.</param>
    /// <exception cref="UserErrorException">The socket can't be made.</exception>
    public IPortHost Open(Action<Exception>? failed = null) => new SocketPort(Path, failed);
}
