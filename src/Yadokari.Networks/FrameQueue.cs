using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Yadokari.Core.Networks;

namespace Yadokari.Networks;

/// <summary>
/// Frames on their way to the guest, in a ring of bytes. One thread at a time puts in, one takes out; the two may be at it together. Both see
/// the bytes themselves, so that a frame is built and read in place.
/// </summary>
internal sealed class FrameQueue
{
    private const int Capacity = 1 << 20;
    private const int HeaderSize = 16;
    private const int SkipToStart = -1; // In place of a length: the next frame did not fit before the end.

    private readonly byte[] _bytes = new byte[Capacity];
    private long _head; // Bytes ever taken out. Only its owner writes it, as with the tail.
    private long _tail; // Bytes ever put in.

    /// <summary>How many bytes of frames are in it, with what they need beside.</summary>
    public int Used => (int)(Volatile.Read(ref _tail) - Volatile.Read(ref _head));

    /// <summary>Room for a frame of up to so many bytes, to be filled before <see cref="Put"/>. False if there is none now.</summary>
    public bool TryReserve(int length, out Span<byte> frame)
    {
        int at = (int)(_tail % Capacity);
        int needed = Room(length);
        long free = Capacity - (_tail - Volatile.Read(ref _head));
        int toEnd = Capacity - at;
        if (toEnd < needed)
        {
            if (free < toEnd + needed)
            {
                frame = default;
                return false;
            }

            MemoryMarshal.Write(_bytes.AsSpan(at), SkipToStart);
            Volatile.Write(ref _tail, _tail + toEnd);
            at = 0;
        }
        else if (free < needed)
        {
            frame = default;
            return false;
        }

        frame = _bytes.AsSpan(at + HeaderSize, length);
        return true;
    }

    /// <summary>Puts in what was built where <see cref="TryReserve"/> last said: its first bytes, perhaps fewer than there was room for.</summary>
    public void Put(int length, in FrameOffload offload)
    {
        int at = (int)(_tail % Capacity);
        MemoryMarshal.Write(_bytes.AsSpan(at), length);
        MemoryMarshal.Write(_bytes.AsSpan(at + sizeof(int)), in offload);
        Volatile.Write(ref _tail, _tail + Room(length));
    }

    /// <summary>Shows the first frame, until <see cref="Release"/>. False if there is none.</summary>
    public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload)
    {
        while (Volatile.Read(ref _tail) != _head)
        {
            int at = (int)(_head % Capacity);
            int length = MemoryMarshal.Read<int>(_bytes.AsSpan(at));
            if (length == SkipToStart)
            {
                Volatile.Write(ref _head, _head + (Capacity - at));
                continue;
            }

            offload = MemoryMarshal.Read<FrameOffload>(_bytes.AsSpan(at + sizeof(int)));
            frame = _bytes.AsSpan(at + HeaderSize, length);
            return true;
        }

        frame = default;
        offload = default;
        return false;
    }

    /// <summary>Takes the frame out that <see cref="TryPeek"/> showed.</summary>
    public void Release() =>
        Volatile.Write(ref _head, _head + Room(MemoryMarshal.Read<int>(_bytes.AsSpan((int)(_head % Capacity)))));

    /// <summary>Takes all frames out.</summary>
    public void Drain()
    {
        while (TryPeek(out _, out _))
        {
            Release();
        }
    }

    // Headers are never cut by the end: room comes in their size.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Room(int length) => HeaderSize + ((length + HeaderSize - 1) & ~(HeaderSize - 1));
}
