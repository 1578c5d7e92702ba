namespace Yadokari.Core.Networks;

/// <summary>
/// The host's end of a port of a console device: a byte stream in both directions to the connected client. Calls do not block; one thread
/// reads, one writes.
/// </summary>
public interface IPortHost : IDisposable
{
    /// <summary>Called when the port became readable or writable, or a client connected or disconnected. From any thread, with no lock held.</summary>
    Action? Ready { get; set; }

    /// <summary>Whether a client is connected.</summary>
    bool IsConnected { get; }

    /// <summary>Reads. Returns the number of bytes read: 0 if there are none yet or no client is connected.</summary>
    int Read(Span<byte> data);

    /// <summary>Writes. Returns the number of bytes written; without a client all are discarded and count as written. Write the rest after <see cref="Ready"/>.</summary>
    int Write(ReadOnlySpan<byte> data);
}
