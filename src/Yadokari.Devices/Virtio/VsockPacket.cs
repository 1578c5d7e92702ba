using System.Runtime.InteropServices;

namespace Yadokari.Devices.Virtio;

/// <summary>What a packet means (virtio 1.2, 5.10.6).</summary>
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
    /// <summary>Its length.</summary>
    public const int Bytes = 44;

    /// <summary>The only type there is here.</summary>
    public const ushort Stream = 1;

    public ulong From;
    public ulong To;
    public uint FromPort;
    public uint ToPort;
    public uint Length;
    public ushort Type;
    public VsockOperation Operation;
    public uint Flags;

    /// <summary>Room that its sender has for the connection.</summary>
    public uint Room;

    /// <summary>Bytes that its sender has taken out of that since the connection began, modulo 2^32.</summary>
    public uint Taken;
}
