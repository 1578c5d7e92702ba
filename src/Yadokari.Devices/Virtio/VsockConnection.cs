using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>What is to be told to the guest of a connection.</summary>
[Flags]
internal enum VsockDue
{
    None = 0,
    Request = 1,
    Response = 2,
    Credit = 4,
    Shutdown = 8,
    Reset = 16,
}

/// <summary>A connection between a port of the guest's and one of the host's. Under its device's lock.</summary>
internal sealed class VsockConnection(uint guestPort, uint hostPort, IHostStream stream)
{
    /// <summary>Bytes that the guest may send before the host takes them.</summary>
    public const int Room = 256 << 10;

    // Which side of a stream is over.
    public const uint NoReceiving = 1;
    public const uint NoSending = 2;
    public const uint Both = NoReceiving | NoSending;

    private byte[] _waiting = []; // A ring: from the guest, not yet taken by the host.
    private int _first;
    private int _count;
    private uint _toldTaken;
    private uint _guestRoom;
    private uint _guestTaken;
    private uint _sent;

    public uint GuestPort => guestPort;

    public uint HostPort => hostPort;

    public IHostStream Stream => stream;

    /// <summary>Both sides have agreed.</summary>
    public bool IsOpen { get; set; }

    /// <summary>It is among those that have something for the guest.</summary>
    public bool IsQueued { get; set; }

    /// <summary>It is none any more.</summary>
    public bool IsGone { get; set; }

    public VsockDue Due { get; set; }

    /// <summary>There may be something to read from the host.</summary>
    public bool MayRead { get; set; } = true;

    /// <summary>The sides that the host has ended, and the guest.</summary>
    public uint HostEnded { get; set; }

    public uint GuestEnded { get; set; }

    /// <summary>Bytes from the guest that the host has taken.</summary>
    public uint Taken { get; private set; }

    /// <summary>Whether all that came from the guest is the host's.</summary>
    public bool IsFlushed => _count == 0;

    /// <summary>How many bytes more the guest has room for.</summary>
    public int Credit => _guestRoom - (_sent - _guestTaken) is var credit && credit <= _guestRoom ? (int)Math.Min(credit, int.MaxValue) : 0;

    /// <summary>What the guest says of its room.</summary>
    public void Hear(in VsockPacket packet) => (_guestRoom, _guestTaken) = (packet.Room, packet.Taken);

    /// <summary>So many bytes go to the guest.</summary>
    public void Send(int count) => _sent += (uint)count;

    /// <summary>The guest hears what was taken.</summary>
    public void TellTaken() => _toldTaken = Taken;

    /// <summary>Takes bytes of a packet from the guest. False if there are more than it was allowed.</summary>
    public bool TryTake(DescriptorChain chain, int length)
    {
        if (length > Room - _count)
        {
            return false;
        }

        if (_waiting.Length == 0)
        {
            _waiting = new byte[Room];
        }

        int at = (_first + _count) % Room;
        int piece = Math.Min(length, Room - at);
        if (chain.Read(VsockPacket.Bytes, _waiting.AsSpan(at, piece)) != piece
            || chain.Read(VsockPacket.Bytes + piece, _waiting.AsSpan(0, length - piece)) != length - piece)
        {
            return false;
        }

        _count += length;
        return true;
    }

    /// <summary>Gives the host what it takes. False if it takes nothing any more.</summary>
    public bool TryFlush()
    {
        while (_count > 0)
        {
            int written = stream.Write(_waiting.AsSpan(_first, Math.Min(_count, Room - _first)));
            if (written <= 0)
            {
                return written == 0;
            }

            _first = (_first + written) % Room;
            _count -= written;
            Taken += (uint)written;
        }

        if (Taken - _toldTaken >= Room / 2)
        {
            Due |= VsockDue.Credit;
        }

        return true;
    }
}
