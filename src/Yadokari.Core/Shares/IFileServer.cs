using Yadokari.Core.Memory;

namespace Yadokari.Core.Shares;

/// <summary>
/// A FUSE server for a guest (linux/fuse.h, version 7). Any thread, several at a time. An invalid request gets an error reply, never an
/// exception.
/// </summary>
public interface IFileServer : IDisposable
{
    /// <summary>Offset of the data in a FUSE_WRITE request.</summary>
    const int DataOffset = 80;

    /// <summary>Offset of the data in the reply to FUSE_READ.</summary>
    const int RoomOffset = 16;

    /// <summary>The maximum size of a request without write data, in bytes.</summary>
    const int MaxHead = 8 << 10;

    /// <summary>The maximum size of a reply without read data, in bytes.</summary>
    const int MaxReply = 64 << 10;

    /// <summary>Serves one request.</summary>
    FileReply Serve(in FileRequest request);

    /// <summary>Closes all open files and forgets all nodes, as before FUSE_INIT.</summary>
    void Reset();
}

/// <summary>A request, and buffers for its reply.</summary>
public readonly ref struct FileRequest
{
    /// <summary>A copy of its first bytes: of all of them where there are <see cref="IFileServer.MaxHead"/> at most.</summary>
    public required ReadOnlySpan<byte> Head { get; init; }

    /// <summary>In guest memory, what follows its first <see cref="IFileServer.DataOffset"/> bytes. May be changed.</summary>
    public required Span<HostBuffer> Data { get; init; }

    /// <summary>Receives the reply: <see cref="IFileServer.MaxReply"/> bytes.</summary>
    public required Span<byte> Reply { get; init; }

    /// <summary>In guest memory, where bytes that were read go: what follows the first <see cref="IFileServer.RoomOffset"/> bytes of the answer. May be changed.</summary>
    public required Span<HostBuffer> Room { get; init; }
}

/// <summary>A reply.</summary>
/// <param name="Length">Bytes of <see cref="FileRequest.Reply"/>; 0 if the request has no reply.</param>
/// <param name="Placed">Bytes that lie in <see cref="FileRequest.Room"/> already, behind these.</param>
public readonly record struct FileReply(int Length, long Placed);
