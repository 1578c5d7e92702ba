using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>Control packets that a connection has yet to send to the guest.</summary>
[Flags]
internal enum VsockPending
{
    None = 0,
    Request = 1,
    Response = 2,
    Credit = 4,
    Shutdown = 8,
    Reset = 16,
}

/// <summary>A connection between a port of the guest and a port of the host. Under the device's lock.</summary>
internal sealed class VsockConnection(uint guestPort, uint hostPort, IHostStream stream)
{
    /// <summary>buf_alloc: bytes from the guest that are buffered here at most.</summary>
    public const int BufferSize = 256 << 10;

    // Flags of VIRTIO_VSOCK_OP_SHUTDOWN: the direction that its sender shut down (virtio 1.2, 5.10.6.6.1).
    public const uint ShutdownReceive = 1;
    public const uint ShutdownSend = 2;
    public const uint ShutdownBoth = ShutdownReceive | ShutdownSend;

    private byte[] _receiveBuffer = []; // A ring buffer: bytes from the guest, not yet written to the host's stream.
    private int _first;
    private int _count;
    private uint _reportedForwardedCount;
    private uint _guestBufferSize;
    private uint _guestForwardedCount;
    private uint _sent;

    public uint GuestPort => guestPort;

    public uint HostPort => hostPort;

    public IHostStream Stream => stream;

    /// <summary>ShutdownWhether the connection is established: the response was sent or received.</summary>
    public bool IsEstablished { get; set; }

    /// <summary>Whether the connection is in the device's queue of those that may have a packet for the guest.</summary>
    public bool IsQueued { get; set; }

    /// <summary>Whether the connection is closed and removed.</summary>
    public bool IsClosed { get; set; }

    public VsockPending PendingPackets { get; set; }

    /// <summary>Whether the host's stream may be readable.</summary>
    public bool MayRead { get; set; } = true;

    /// <summary>The directions that the host has shut down, and the guest.</summary>
    public uint HostShutdown { get; set; }

    public uint GuestShutdown { get; set; }

    /// <summary>fwd_cnt: bytes from the guest that were written to the host's stream, modulo 2^32.</summary>
    public uint ForwardedCount { get; private set; }

    /// <summary>Whether all bytes from the guest are written to the host's stream.</summary>
    public bool IsFlushed => _count == 0;

    /// <summary>Bytes that the guest has buffer space for (virtio 1.2, 5.10.6.3).</summary>
    public int Credit => _guestBufferSize - (_sent - _guestForwardedCount) is var credit && credit <= _guestBufferSize ? (int)Math.Min(credit, int.MaxValue) : 0;

    /// <summary>Takes buf_alloc and fwd_cnt from a packet of the guest.</summary>
    public void UpdateGuestCredit(in VsockPacket packet) => (_guestBufferSize, _guestForwardedCount) = (packet.BufferSize, packet.ForwardedCount);

    /// <summary>Counts bytes sent to the guest (tx_cnt).</summary>
    public void Send(int count) => _sent += (uint)count;

    /// <summary>A packet to the guest carries <see cref="ForwardedCount"/>.</summary>
    public void MarkForwardedCountReported() => _reportedForwardedCount = ForwardedCount;

    /// <summary>Buffers the payload of a packet from the guest. False if the guest exceeds its credit.</summary>
    public bool TryReceive(DescriptorChain chain, int length)
    {
        if (length > BufferSize - _count)
        {
            return false;
        }

        if (_receiveBuffer.Length == 0)
        {
            _receiveBuffer = new byte[BufferSize];
        }

        int at = (_first + _count) % BufferSize;
        int piece = Math.Min(length, BufferSize - at);
        if (chain.Read(VsockPacket.Bytes, _receiveBuffer.AsSpan(at, piece)) != piece
            || chain.Read(VsockPacket.Bytes + piece, _receiveBuffer.AsSpan(0, length - piece)) != length - piece)
        {
            return false;
        }

        _count += length;
        return true;
    }

    /// <summary>Writes buffered bytes to the host's stream, as far as it takes them. False if the host has closed it.</summary>
    public bool TryFlush()
    {
        while (_count > 0)
        {
            int written = stream.Write(_receiveBuffer.AsSpan(_first, Math.Min(_count, BufferSize - _first)));
            if (written <= 0)
            {
                return written == 0;
            }

            _first = (_first + written) % BufferSize;
            _count -= written;
            ForwardedCount += (uint)written;
        }

        if (ForwardedCount - _reportedForwardedCount >= BufferSize / 2)
        {
            PendingPackets |= VsockPending.Credit;
        }

        return true;
    }
}
