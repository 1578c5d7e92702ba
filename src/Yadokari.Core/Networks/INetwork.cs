namespace Yadokari.Core.Networks;

/// <summary>What the sender of a frame leaves to its receiver: checksum and segmentation offloads.</summary>
[Flags]
public enum NetworkOffloads
{
    /// <summary>Nothing: frames are as on a wire.</summary>
    None = 0,

    /// <summary>The checksum of TCP and UDP.</summary>
    Checksum = 1,

    /// <summary>Segmentation of TCP over IPv4 (TSO).</summary>
    Tcp4 = 2,

    /// <summary>Segmentation of TCP over IPv6 (TSO).</summary>
    Tcp6 = 4,

    /// <summary>All of these.</summary>
    All = Checksum | Tcp4 | Tcp6,
}

/// <summary>
/// The host's side of a network card. Frames are Ethernet frames without the frame check sequence. One thread sends, one receives; the two may
/// run concurrently. Call <see cref="IDisposable.Dispose"/> when neither does.
/// </summary>
public interface INetwork : IDisposable
{
    /// <summary>The maximum size of a frame in bytes, before segmentation too.</summary>
    const int MaxFrameSize = 65_536 + 64;

    /// <summary>The maximum transmission unit: bytes of a frame after its Ethernet header that need no segmentation.</summary>
    int Mtu { get; }

    /// <summary>The offloads that the network accepts in frames from the guest, and can use in frames to it.</summary>
    NetworkOffloads Offloads { get; }

    /// <summary>Those of <see cref="Offloads"/> that the guest's driver negotiated for frames to it; none at first. Any thread.</summary>
    NetworkOffloads GuestOffloads { get; set; }

    /// <summary>Called when frames for the guest are queued again (<see cref="TryPeek"/>). From any thread; must not block.</summary>
    Action? Arrived { get; set; }

    /// <summary>Sends a frame of the guest, or drops it. Does not block.</summary>
    void Send(ReadOnlySpan<byte> frame, in FrameOffload offload);

    /// <summary>Ends a batch of frames sent: acknowledgements that were delayed for it go out.</summary>
    void Flush();

    /// <summary>Shows the next frame for the guest, until <see cref="Release"/>. False if there is none.</summary>
    bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload);

    /// <summary>Removes the frame that <see cref="TryPeek"/> showed from the queue.</summary>
    void Release();

    /// <summary>The guest's driver reset the device: drops queued frames, closes connections and clears <see cref="GuestOffloads"/>. While no thread sends or receives.</summary>
    void Reset();
}
