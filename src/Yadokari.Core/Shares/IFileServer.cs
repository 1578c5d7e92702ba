using Yadokari.Core.Memory;

namespace Yadokari.Core.Shares;

/// <summary>
/// What serves files to a guest, by the messages of FUSE (linux/fuse.h, version 7). Any thread, several at a time. Whatever a message says, it
/// is answered, never thrown at.
/// </summary>
public interface IFileServer : IDisposable
{
    /// <summary>Where the bytes begin that a request to write carries, in the request.</summary>
    const int DataOffset = 80;

    /// <summary>Where the bytes begin that a request to read wants, in the answer.</summary>
    const int RoomOffset = 16;

    /// <summary>The longest request but for bytes to write.</summary>
    const int MostHead = 8 << 10;

    /// <summary>The longest answer but for bytes that were read.</summary>
    const int MostReply = 64 << 10;

    /// <summary>Serves one request.</summary>
    FileReply Serve(in FileRequest request);

    /// <summary>Forgets what a guest has open, as if it had never begun.</summary>
    void Reset();
}

/// <summary>A request, and room for its answer.</summary>
public readonly ref struct FileRequest
{
    /// <summary>A copy of its first bytes: of all of them where there are <see cref="IFileServer.MostHead"/> at most.</summary>
    public required ReadOnlySpan<byte> Head { get; init; }

    /// <summary>In guest memory, what follows its first <see cref="IFileServer.DataOffset"/> bytes. May be changed.</summary>
    public required Span<HostBuffer> Data { get; init; }

    /// <summary>Gets the answer: <see cref="IFileServer.MostReply"/> bytes.</summary>
    public required Span<byte> Reply { get; init; }

    /// <summary>In guest memory, where bytes that were read go: what follows the first <see cref="IFileServer.RoomOffset"/> bytes of the answer. May be changed.</summary>
    public required Span<HostBuffer> Room { get; init; }
}

/// <summary>An answer.</summary>
/// <param name="Length">Bytes of <see cref="FileRequest.Reply"/>; 0 where the request wants no answer.</param>
/// <param name="Placed">Bytes that lie in <see cref="FileRequest.Room"/> already, behind these.</param>
public readonly record struct FileReply(int Length, long Placed);
