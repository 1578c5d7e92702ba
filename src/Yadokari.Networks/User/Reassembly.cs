namespace Yadokari.Networks.User;

/// <summary>Which fragments belong together (RFC 791, 3.2; RFC 8200, 4.5).</summary>
internal readonly record struct FragmentKey(IpAddress From, IpAddress To, byte Protocol, uint Identification);

/// <summary>
/// Puts the guest's fragments together. They come over a link that keeps their order, from a system that sends them in it: any other are
/// dropped. Under the network's lock.
/// </summary>
internal sealed class Reassembly
{
    private const int Most = 4; // Packets at once.

    private readonly Packet[] _packets = new Packet[Most];
    private int _next;

    private struct Packet
    {
        public FragmentKey Key;
        public byte[]? Bytes;
        public int Length; // 0 for none.
    }

    /// <summary>Takes a fragment. True if it was the last: then the whole is there, until the next call.</summary>
    public bool TryAdd(scoped in FragmentKey key, int offset, bool more, ReadOnlySpan<byte> piece, out ReadOnlySpan<byte> whole)
    {
        whole = default;
        int at = offset == 0 ? _next : Find(key);
        if (at < 0 || piece.IsEmpty)
        {
            return false;
        }

        ref Packet packet = ref _packets[at];
        if (offset == 0)
        {
            _next = (_next + 1) % Most; // The oldest makes room.
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

        whole = packet.Bytes.AsSpan(0, packet.Length);
        packet.Length = 0;
        return true;
    }

    private int Find(in FragmentKey key)
    {
        for (int i = 0; i < Most; i++)
        {
            if (_packets[i].Length > 0 && _packets[i].Key == key)
            {
                return i;
            }
        }

        return -1;
    }
}
