namespace Yadokari.Devices.Virtio;

/// <summary>Feature bits that are not a device's own (virtio 1.2, 6).</summary>
public static class VirtioFeatures
{
    /// <summary>A descriptor may point to a table of descriptors.</summary>
    public const ulong IndirectDescriptors = 1ul << 28;

    /// <summary>Both sides say at which entry they want to hear of the next.</summary>
    public const ulong EventIndex = 1ul << 29;

    /// <summary>Not a device of before version 1.</summary>
    public const ulong Version1 = 1ul << 32;

    /// <summary>The packed layout of queues.</summary>
    public const ulong PackedRing = 1ul << 34;

    /// <summary>What the transport and the queues offer for every device; packed rings aside.</summary>
    public const ulong OfAll = IndirectDescriptors | EventIndex | Version1;
}
