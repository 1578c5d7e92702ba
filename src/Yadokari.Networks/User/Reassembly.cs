namespace Yadokari.Networks.User;

/// <summary>The key of a fragmented packet (RFC 791, 3.2; RFC 8200, 4.5).</summary>
internal readonly record struct FragmentKey(IpAddress From, IpAddress To, byte Protocol, uint Identification);

/// <summary>
/// Reassembles fragmented packets of the guest. The link keeps their order and the guest sends them in order: fragments out of order are
/// dropped. Under the network's lock.
/// </summary>
internal sealed class Reassembly
{
    private const int MaxPackets = 4; // In reassembly at once.

    private readonly Packet[] _packets = new Packet[MaxPackets];
    private int _next;

    private struct Packet
    {
        public FragmentKey Key;
        public byte[]? Bytes;
        public int Length; // 0 if the slot is free.
    }

    /// <summary>Adds a fragment. True if it completes its packet, whose payload is then valid until the next call.</summary>
    public bool TryAdd(scoped in FragmentKey key, int offset, bool more, ReadOnlySpan<byte> piece, out ReadOnlySpan<byte> payload)
    {
        payload = default;
        int at = offset == 0 ? _next : Find(key);
        if (at < 0 || piece.IsEmpty)
        {
            return false;
        }

        ref Packet packet = ref _packets[at];
        if (offset == 0)
        {
            _next = (_next + 1) % MaxPackets; // Replaces the oldest.
            packet.Key = key;
            packet.Bytes ??= new byte[ushort.MaxValue];
            packet.Length = 0;
        }

        if (offset != packet.Length || offset + piece.Length > ushort.MaxValue)
        {
            packet.Length = 0;
            return false;
        }

        piece.CopyTo(packet.Bytes.AsSpan(offset));
        packet.Length += piece.Length;
        if (more)
        {
            return false;
        }

        payload = packet.Bytes.AsSpan(0, packet.Length);
        packet.Length = 0;
        return true;
    }

    private int Find(in FragmentKey key)
    {
        for (int i = 0; i < MaxPackets; i++)
        {
            if (_packets[i].Length > 0 && _packets[i].Key == key)
            {
                return i;
            }
        }

        return -1;
    }
}
