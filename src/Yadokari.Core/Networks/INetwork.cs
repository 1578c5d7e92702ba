namespace Yadokari.Core.Networks;

/// <summary>What is left for the other side to do with frames that one side sends.</summary>
[Flags]
public enum NetworkOffloads
{
    /// <summary>Nothing: frames are as on a wire.</summary>
    None = 0,

    /// <summary>The checksum of TCP and UDP.</summary>
    Checksum = 1,

    /// <summary>Cutting TCP over IPv4 into segments.</summary>
    Tcp4 = 2,

    /// <summary>Cutting TCP over IPv6 into segments.</summary>
    Tcp6 = 4,

    /// <summary>All of these.</summary>
    All = Checksum | Tcp4 | Tcp6,
}

/// <summary>
/// What a network card is plugged into. Frames are Ethernet's, without the checksum at their end. Sending and receiving are one thread's
/// each, and may go on at once; <see cref="IDisposable.Dispose"/> when neither does.
/// </summary>
public interface INetwork : IDisposable
{
    /// <summary>The longest frame, in bytes, of one that is not cut and one that will be.</summary>
    const int MostBytes = 65_536 + 64;

    /// <summary>The most bytes of a frame behind its Ethernet header that need no cutting.</summary>
    int Mtu { get; }

    /// <summary>What may be left to the network in frames from the guest, and to the guest in frames to it.</summary>
    NetworkOffloads Offloads { get; }

    /// <summary>What of <see cref="Offloads"/> the guest's driver takes over; nothing to begin with. Any thread.</summary>
    NetworkOffloads Taken { get; set; }

    /// <summary>Called when <see cref="TryPeek"/> has something again. Any thread; must return at once.</summary>
    Action? Arrived { get; set; }

    /// <summary>Takes a frame from the guest, or drops it. Does not wait.</summary>
    void Send(ReadOnlySpan<byte> frame, in FrameOffload offload);

    /// <summary>The last frame for now was sent.</summary>
    void Flush();

    /// <summary>Shows the next frame for the guest, until <see cref="Release"/>. False if there is none.</summary>
    bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload);

    /// <summary>Takes away the frame that <see cref="TryPeek"/> showed.</summary>
    void Release();

    /// <summary>The guest's driver begins anew: frames for it are dropped, connections end, and it takes nothing over. While nobody sends or receives.</summary>
    void Reset();
}
