using System.Buffers.Binary;

namespace Yadokari.Devices.Virtio;

/// <summary>The receive filter of a network card: receive modes and MAC address lists (virtio 1.2, 5.1.6.5.1 and 5.1.6.5.2). Immutable: a command creates another.</summary>
internal sealed class ReceiveFilter
{
    /// <summary>The maximum number of addresses in each of the two lists; a longer list receives all frames of its kind.</summary>
    public const int MaxAddresses = 64;

    private const int MacSize = 6;

    private readonly ulong _mac;
    private ulong[] _unicast = [];
    private ulong[] _multicast = [];
    private bool _promiscuous;
    private bool _allMulticast = true; // Until the driver sends a filter, which is optional.
    private bool _allUnicast;
    private bool _noMulticast;
    private bool _noUnicast;
    private bool _noBroadcast;

    /// <summary>The filter after a reset.</summary>
    public ReceiveFilter(ReadOnlySpan<byte> mac) => _mac = Pack(mac);

    private ReceiveFilter(ReceiveFilter other, ulong mac)
    {
        _mac = mac;
        (_unicast, _multicast, _promiscuous) = (other._unicast, other._multicast, other._promiscuous);
        (_allMulticast, _allUnicast) = (other._allMulticast, other._allUnicast);
        (_noMulticast, _noUnicast, _noBroadcast) = (other._noMulticast, other._noUnicast, other._noBroadcast);
    }

    /// <summary>Whether a frame passes the filter.</summary>
    public bool Passes(ReadOnlySpan<byte> frame)
    {
        if (_promiscuous || frame.Length < MacSize)
        {
            return _promiscuous;
        }

        ulong to = Pack(frame);
        return to == 0xFFFF_FFFF_FFFF ? !_noBroadcast
            : (frame[0] & 1) != 0 ? !_noMulticast && (_allMulticast || Array.IndexOf(_multicast, to) >= 0)
            : !_noUnicast && (_allUnicast || to == _mac || Array.IndexOf(_unicast, to) >= 0);
    }

    /// <summary>The filter after a receive mode command. Null if the command is unknown.</summary>
    public ReceiveFilter? With(byte command, bool on)
    {
        var changed = new ReceiveFilter(this, _mac);
        switch (command)
        {
            case 0:
                changed._promiscuous = on;
                break;
            case 1:
                changed._allMulticast = on;
                break;
            case 2:
                changed._allUnicast = on;
                break;
            case 3:
                changed._noMulticast = on;
                break;
            case 4:
                changed._noUnicast = on;
                break;
            case 5:
                changed._noBroadcast = on;
                break;
            default:
                return null;
        }

        return changed;
    }

    /// <summary>The filter after a MAC address command. Null if the command is invalid.</summary>
    public ReceiveFilter? With(byte command, ReadOnlySpan<byte> data)
    {
        const byte lists = 0, own = 1;
        if (command == own && data.Length >= MacSize)
        {
            return new ReceiveFilter(this, Pack(data));
        }

        if (command != lists)
        {
            return null;
        }

        return ReadList(ref data) is { } unicast && ReadList(ref data) is { } multicast
            ? new ReceiveFilter(this, _mac) { _unicast = unicast, _multicast = multicast, _allMulticast = false }
            : new ReceiveFilter(this, _mac) { _allUnicast = true, _allMulticast = true };
    }

    private static ulong[]? ReadList(ref ReadOnlySpan<byte> data)
    {
        uint count = data.Length < 4 ? uint.MaxValue : BinaryPrimitives.ReadUInt32LittleEndian(data);
        if (count > MaxAddresses || data.Length - 4 < count * MacSize)
        {
            return null;
        }

        ulong[] list = new ulong[count];
        data = data[4..];
        for (int i = 0; i < count; i++)
        {
            list[i] = Pack(data);
            data = data[MacSize..];
        }

        return list;
    }

    private static ulong Pack(ReadOnlySpan<byte> mac) => (ulong)BinaryPrimitives.ReadUInt16BigEndian(mac) << 32 | BinaryPrimitives.ReadUInt32BigEndian(mac[2..]);
}
