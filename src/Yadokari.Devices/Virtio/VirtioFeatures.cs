namespace Yadokari.Devices.Virtio;

/// <summary>Device-independent feature bits (virtio 1.2, 6).</summary>
public static class VirtioFeatures
{
    /// <summary>VIRTIO_F_INDIRECT_DESC: a descriptor may refer to an indirect table of descriptors.</summary>
    public const ulong IndirectDescriptors = 1ul << 28;

    /// <summary>VIRTIO_F_EVENT_IDX: each side writes the ring index at which it wants the next notification.</summary>
    public const ulong EventIndex = 1ul << 29;

    /// <summary>VIRTIO_F_VERSION_1: not a legacy device.</summary>
    public const ulong Version1 = 1ul << 32;

    /// <summary>VIRTIO_F_RING_PACKED: packed virtqueues.</summary>
    public const ulong PackedRing = 1ul << 34;

    /// <summary>Features that every device offers; packed rings are optional.</summary>
    public const ulong OfAll = IndirectDescriptors | EventIndex | Version1;
}
