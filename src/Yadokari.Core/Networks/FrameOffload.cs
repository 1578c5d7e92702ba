using System.Runtime.InteropServices;

namespace Yadokari.Core.Networks;

/// <summary>
/// What is left to do with a frame, as virtio and Linux's TAP devices put it before each: the first ten bytes of <c>struct virtio_net_hdr</c>
/// (virtio 1.2, 5.1.6; Linux 6.1, include/uapi/linux/virtio_net.h). Little endian.
/// </summary>
/// <param name="Flags"><see cref="NeedsChecksum"/> and <see cref="ChecksumIsValid"/>.</param>
/// <param name="Kind">One of <see cref="Whole"/>, <see cref="Tcp4"/>, <see cref="Tcp6"/>, perhaps with <see cref="Congestion"/>.</param>
/// <param name="HeaderLength">Bytes of headers in each segment, if it is to be cut.</param>
/// <param name="SegmentSize">Bytes of data in each segment, if it is to be cut.</param>
/// <param name="ChecksumStart">Where what the checksum covers begins, if it is to be made.</param>
/// <param name="ChecksumOffset">Where from there it goes; the checksum of the pseudo header is there.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct FrameOffload(byte Flags, byte Kind, ushort HeaderLength, ushort SegmentSize, ushort ChecksumStart, ushort ChecksumOffset)
{
    /// <summary>Bytes it takes.</summary>
    public const int Size = 10;

    /// <summary>The checksum is to be made.</summary>
    public const byte NeedsChecksum = 1;

    /// <summary>The checksum was looked at.</summary>
    public const byte ChecksumIsValid = 2;

    /// <summary>Not to be cut.</summary>
    public const byte Whole = 0;

    /// <summary>TCP over IPv4, to be cut.</summary>
    public const byte Tcp4 = 1;

    /// <summary>TCP over IPv6, to be cut.</summary>
    public const byte Tcp6 = 4;

    /// <summary>With <see cref="Tcp4"/> and <see cref="Tcp6"/>: the first segment alone carries the mark of reduced congestion.</summary>
    public const byte Congestion = 0x80;

    /// <summary>Whether it makes sense for a frame of so many bytes.</summary>
    public bool Fits(int length) => (Flags & NeedsChecksum) == 0 ? Kind == Whole : ChecksumStart + ChecksumOffset + 2 <= length
        && (Kind == Whole || (SegmentSize > 0 && (Kind & ~Congestion) is Tcp4 or Tcp6));
}
