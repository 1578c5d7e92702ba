namespace Yadokari.Core.Networks;

/// <summary>A connection with a program of the host's: bytes both ways, in order. Calls do not wait; one thread at a time.</summary>
public interface IHostStream : IDisposable
{
    /// <summary>Called when reading or writing may go on, or the other side has ended. Any thread, with no lock held.</summary>
    Action? Ready { get; set; }

    /// <summary>Whether the other side neither writes nor reads any more.</summary>
    bool HasEnded { get; }

    /// <summary>Tells who asked for the connection that the guest has taken it.</summary>
    /// <param name="port">The host's end of it.</param>
    void Accept(uint port);

    /// <summary>Reads. How many bytes came; 0 at the end, and below 0 where there are none yet.</summary>
    int Read(Span<byte> data);

    /// <summary>Writes. How many bytes went; 0 where there is no room yet, and below 0 where nobody takes them any more.</summary>
    int Write(ReadOnlySpan<byte> data);

    /// <summary>Writes no more.</summary>
    void EndWriting();
}

/// <summary>Programs of the host's that a guest may talk with, by ports.</summary>
public interface IStreamHost : IDisposable
{
    /// <summary>A program wants to be connected to a port of the guest's. The stream belongs to who is called. Any thread, with no lock held.</summary>
    Action<uint, IHostStream>? Asked { get; set; }

    /// <summary>Connects to who serves a port of the host's. Null if nobody does. Does not wait.</summary>
    IHostStream? Connect(uint port);
}
