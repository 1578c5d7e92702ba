namespace Yadokari.Core.Networks;

/// <summary>A connection to a program on the host: a byte stream in both directions. Calls do not block; one thread at a time.</summary>
public interface IHostStream : IDisposable
{
    /// <summary>Called when the stream became readable or writable, or the peer closed it. From any thread, with no lock held.</summary>
    Action? Ready { get; set; }

    /// <summary>Whether the peer has closed the connection in both directions.</summary>
    bool HasEnded { get; }

    /// <summary>Tells the program that requested the connection that the guest accepted it.</summary>
    /// <param name="port">The host's port of the connection.</param>
    void Accept(uint port);

    /// <summary>Reads. Returns the number of bytes read; 0 at the end of the stream, negative if there are none yet.</summary>
    int Read(Span<byte> data);

    /// <summary>Writes. Returns the number of bytes written; 0 if the buffer is full, negative if the peer has closed the connection.</summary>
    int Write(ReadOnlySpan<byte> data);

    /// <summary>Shuts down the writing direction.</summary>
    void EndWriting();
}

/// <summary>Programs on the host that the guest can exchange streams with, by port number.</summary>
public interface IStreamHost : IDisposable
{
    /// <summary>Called when a program requests a connection to a port of the guest. The callee owns the stream. From any thread, with no lock held.</summary>
    Action<uint, IHostStream>? ConnectionRequested { get; set; }

    /// <summary>Connects to the program that listens on a port of the host. Null if none does. Does not block.</summary>
    IHostStream? Connect(uint port);
}
