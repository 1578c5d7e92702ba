using System.Runtime.InteropServices;

namespace Yadokari.Core.Networks;

/// <summary>
/// The offload header that virtio and Linux's TAP devices put before each frame: the first ten bytes of <c>struct virtio_net_hdr</c>
/// (virtio 1.2, 5.1.6; Linux 6.1, include/uapi/linux/virtio_net.h). Little endian.
/// </summary>
/// <param name="Flags"><see cref="NeedsChecksum"/> and <see cref="ChecksumIsValid"/>.</param>
/// <param name="Kind">One of <see cref="Whole"/>, <see cref="Tcp4"/>, <see cref="Tcp6"/>, perhaps with <see cref="Congestion"/>.</param>
/// <param name="HeaderLength">Bytes of headers in each segment, if the frame is to be segmented.</param>
/// <param name="SegmentSize">Bytes of data in each segment (MSS), if the frame is to be segmented.</param>
/// <param name="ChecksumStart">Offset in the frame of the first byte that the checksum covers, if the checksum is to be computed.</param>
/// <param name="ChecksumOffset">Offset of the checksum field from there; it holds the sum of the pseudo header.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct FrameOffload(byte Flags, byte Kind, ushort HeaderLength, ushort SegmentSize, ushort ChecksumStart, ushort ChecksumOffset)
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 10;

    /// <summary>VIRTIO_NET_HDR_F_NEEDS_CSUM: the receiver computes the checksum.</summary>
    public const byte NeedsChecksum = 1;

    /// <summary>VIRTIO_NET_HDR_F_DATA_VALID: the checksum was verified.</summary>
    public const byte ChecksumIsValid = 2;

    /// <summary>VIRTIO_NET_HDR_GSO_NONE: no segmentation.</summary>
    public const byte Whole = 0;

    /// <summary>VIRTIO_NET_HDR_GSO_TCPV4: TCP over IPv4, to be segmented.</summary>
    public const byte Tcp4 = 1;

    /// <summary>VIRTIO_NET_HDR_GSO_TCPV6: TCP over IPv6, to be segmented.</summary>
    public const byte Tcp6 = 4;

    /// <summary>VIRTIO_NET_HDR_GSO_ECN, with <see cref="Tcp4"/> and <see cref="Tcp6"/>: only the first segment carries the CWR flag.</summary>
    public const byte Congestion = 0x80;

    /// <summary>Whether the header is valid for a frame of <paramref name="length"/> bytes.</summary>
    public bool Fits(int length) => (Flags & NeedsChecksum) == 0 ? Kind == Whole : ChecksumStart + ChecksumOffset + 2 <= length
        && (Kind == Whole || (SegmentSize > 0 && (Kind & ~Congestion) is Tcp4 or Tcp6));
}
