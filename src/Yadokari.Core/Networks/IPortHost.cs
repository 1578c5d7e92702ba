namespace Yadokari.Core.Networks;

/// <summary>
/// The host's end of a port of a console device: bytes both ways, in order, with whoever is there. Calls do not wait; one thread reads, one
/// writes.
/// </summary>
public interface IPortHost : IDisposable
{
    /// <summary>Called when reading or writing may go on, or somebody came or went. Any thread, with no lock held.</summary>
    Action? Ready { get; set; }

    /// <summary>Whether somebody is there.</summary>
    bool IsConnected { get; }

    /// <summary>Reads. How many bytes came: 0 where there are none yet, or nobody is there.</summary>
    int Read(Span<byte> data);

    /// <summary>Writes. How many bytes were taken: all where nobody is there, for then they are gone; the rest may go after <see cref="Ready"/>.</summary>
    int Write(ReadOnlySpan<byte> data);
}
