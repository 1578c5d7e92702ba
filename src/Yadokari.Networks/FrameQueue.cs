using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Yadokari.Core.Networks;

namespace Yadokari.Networks;

/// <summary>
/// A single-producer, single-consumer ring buffer of frames for the guest, without a lock. Both threads access the buffer itself, so that a frame
/// is built and read in place.
/// </summary>
internal sealed class FrameQueue
{
    private const int Capacity = 1 << 20;
    private const int HeaderSize = 16;
    private const int SkipToStart = -1; // In place of a length: the next frame did not fit before the buffer's end and is at its start.

    private readonly byte[] _bytes = new byte[Capacity];
    private long _head; // Bytes ever consumed. Only the consumer writes it.
    private long _tail; // Bytes ever produced. Only the producer writes it.

    /// <summary>Bytes in use, headers and padding included.</summary>
    public int Used => (int)(Volatile.Read(ref _tail) - Volatile.Read(ref _head));

    /// <summary>Reserves space for a frame of up to <paramref name="length"/> bytes, to be filled before <see cref="Put"/>. False if the queue is full.</summary>
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

    /// <summary>Appends the first <paramref name="length"/> bytes of the space that <see cref="TryReserve"/> returned last.</summary>
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

    /// <summary>Removes the frame that <see cref="TryPeek"/> showed.</summary>
    public void Release() =>
        Volatile.Write(ref _head, _head + Room(MemoryMarshal.Read<int>(_bytes.AsSpan((int)(_head % Capacity)))));

    /// <summary>Removes all frames. By the consumer.</summary>
    public void Drain()
    {
        while (TryPeek(out _, out _))
        {
            Release();
        }
    }

    // Space is allocated in multiples of the header's size, so that the buffer's end splits no header.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Room(int length) => HeaderSize + ((length + HeaderSize - 1) & ~(HeaderSize - 1));
}
