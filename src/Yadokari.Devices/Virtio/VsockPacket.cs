using System.Runtime.InteropServices;

namespace Yadokari.Devices.Virtio;

/// <summary>The operation of a packet (virtio 1.2, 5.10.6).</summary>
internal enum VsockOperation : ushort
{
    Invalid = 0,
    Request = 1,
    Response = 2,
    Reset = 3,
    Shutdown = 4,
    Data = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

/// <summary>The header of a packet: struct virtio_vsock_hdr, little endian as this host is.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = Bytes)]
internal record struct VsockPacket
{
    /// <summary>Size in bytes.</summary>
    public const int Bytes = 44;

    /// <summary>VIRTIO_VSOCK_TYPE_STREAM, the only socket type here.</summary>
    public const ushort Stream = 1;

    public ulong SourceCid;
    public ulong DestinationCid;
    public uint SourcePort;
    public uint DestinationPort;
    public uint Length;
    public ushort Type;
    public VsockOperation Operation;
    public uint Flags;

    /// <summary>buf_alloc: the sender's receive buffer for the connection, in bytes.</summary>
    public uint BufferSize;

    /// <summary>fwd_cnt: bytes that the sender has consumed from that buffer since the connection began, modulo 2^32.</summary>
    public uint ForwardedCount;
}
