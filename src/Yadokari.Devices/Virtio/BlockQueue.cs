using System.Buffers.Binary;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// A request queue of a block device (virtio 1.2, 5.2.6). As many available requests are in flight as the disk takes, and they complete in any
/// order: a driver that needs one completed before another waits for it.
/// </summary>
internal sealed class BlockQueue : IDisposable
{
    /// <summary>The maximum number of segments of a discard or write-zeroes request.</summary>
    public const int MaxRanges = 32;

    /// <summary>The maximum number of sectors of such a segment: 2 GiB.</summary>
    public const uint MaxSectors = 1 << 22;

    /// <summary>Size in bytes of the device ID string (VIRTIO_BLK_T_GET_ID).</summary>
    public const int IdSize = 20;

    // Request types and status values.
    private const uint In = 0;
    private const uint Out = 1;
    private const uint Flush = 4;
    private const uint GetId = 8;
    private const uint Discard = 11;
    private const uint WriteZeroes = 13;
    private const byte Ok = 0;
    private const byte IoError = 1;
    private const byte Unsupported = 2;

    private const int HeaderSize = 16;
    private const int RangeSize = 16;
    private const uint MayUnmap = 1;
    private const int Depth = 128;
    private const int Round = 32; // Requests submitted between two polls for completions.

    private readonly IDisk _disk;
    private readonly byte[] _id;
    private readonly Virtqueue _queue;
    private readonly IDiskQueue _host;
    private readonly Request[] _requests = new Request[Depth];
    private readonly Stack<int> _free = new(Enumerable.Range(0, Depth).Reverse()); // Free tags.
    private HostBuffer[] _pieces = new HostBuffer[64];

    /// <summary>Creates it, with a queue of the disk.</summary>
    public BlockQueue(IDisk disk, byte[] id, Virtqueue queue)
    {
        (_disk, _id, _queue) = (disk, id, queue);
        _host = disk.OpenQueue(Depth);
    }

    // A request in flight; its chain object is reused.
    private record struct Request(DescriptorChain? Chain, bool Reads);

    private bool IsInFlight => _free.Count < Depth;

    /// <summary>Processes requests until the queue is empty and none is in flight.</summary>
    public void Serve(DescriptorChain chain, Action notifyDriver)
    {
        bool more = true;
        while (more || IsInFlight)
        {
            int taken = 0;
            while (taken < Round && _free.Count > 0 && _queue.TryPop(chain))
            {
                taken++;
                if (Begin(chain))
                {
                    notifyDriver();
                }
            }

            more = taken == Round || _free.Count == 0;
            if (IsInFlight)
            {
                // Without a free tag no request can be submitted before one completes.
                _host.Poll(wait: _free.Count == 0 || !(more || _queue.EnableKicks()));
                _queue.DisableKicks();
                End(notifyDriver);
            }
        }
    }

    /// <summary>The driver kicked the queue while <see cref="Serve"/> runs. Any thread.</summary>
    public void Kicked() => _host.Wake();

    /// <inheritdoc/>
    public void Dispose() => _host.Dispose();

    // True if the request has completed; else it is in flight, and the caller gets another chain object.
    private bool Begin(DescriptorChain chain)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        long room = chain.WritableLength - 1; // The last byte that the device writes is the status.
        if (room < 0 || chain.Read(0, header) != HeaderSize)
        {
            Return(chain, IoError, 0);
            return true;
        }

        uint type = BinaryPrimitives.ReadUInt32LittleEndian(header);
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        switch (type)
        {
            case In:
                bool readable = IsWithin(sector, room, out long from) & TryLocate(chain.Writable, 0, room, out ReadOnlySpan<HostBuffer> to);
                return Settle(chain, reads: true, readable ? _host.Read(from, to, _free.Peek()) : DiskProgress.Failed);
            case Out:
                long length = chain.ReadableLength - HeaderSize;
                bool writable = !_disk.ReadOnly & IsWithin(sector, length, out long at) & TryLocate(chain.Readable, HeaderSize, length, out ReadOnlySpan<HostBuffer> data);
                return Settle(chain, reads: false, writable ? _host.Write(at, data, _free.Peek()) : DiskProgress.Failed);
            case Flush:
                return Settle(chain, reads: false, _host.Flush(_free.Peek()));
            case GetId:
                Return(chain, Ok, chain.Write(0, _id.AsSpan(0, (int)Math.Min(room, IdSize))));
                return true;
            default:
                _host.Poll(wait: false); // Discard and write-zeroes block: submit the others first.
                Return(chain, type is not (Discard or WriteZeroes) ? Unsupported : _disk.ReadOnly ? IoError : Clear(chain, type == Discard), 0);
                return true;
        }
    }

    private bool Settle(DescriptorChain chain, bool reads, DiskProgress progress)
    {
        if (progress != DiskProgress.InFlight)
        {
            Finish(chain, reads, progress == DiskProgress.Done);
            return true;
        }

        ref Request request = ref _requests[_free.Pop()];
        request.Chain ??= new DescriptorChain(_queue.Dma);
        request.Chain.Exchange(chain);
        request.Reads = reads;
        return false;
    }

    // Completes requests in flight that have ended.
    private void End(Action notifyDriver)
    {
        bool any = false;
        while (_host.TryTake(out int tag, out bool done))
        {
            Finish(_requests[tag].Chain!, _requests[tag].Reads, done);
            _free.Push(tag);
            any = true;
        }

        if (any)
        {
            notifyDriver();
        }
    }

    private void Finish(DescriptorChain chain, bool reads, bool done)
    {
        if (reads)
        {
            foreach ((ulong gpa, int size) in chain.Writable)
            {
                _queue.Dma.Written(gpa, (ulong)size); // A failed read may have written a part.
            }
        }

        Return(chain, done ? Ok : IoError, reads ? chain.WritableLength - 1 : 0);
    }

    private void Return(DescriptorChain chain, byte status, long written)
    {
        long room = chain.WritableLength - 1;
        if (room >= 0)
        {
            chain.Write(room, [status]);
        }

        _queue.Push(chain, room >= 0 && status == Ok && written == room ? (uint)(room + 1) : 0);
    }

    private bool IsWithin(ulong sector, long length, out long offset)
    {
        offset = 0;
        ulong sectors = (ulong)_disk.Length / VirtioBlock.Sector;
        if (length < 0 || length % VirtioBlock.Sector != 0 || sector > sectors || (ulong)length / VirtioBlock.Sector > sectors - sector)
        {
            return false;
        }

        offset = (long)sector * VirtioBlock.Sector;
        return true;
    }

    // Translates a part of a chain's buffers to host addresses, valid until the next call.
    private bool TryLocate(ReadOnlySpan<GuestBuffer> buffers, long skip, long length, out ReadOnlySpan<HostBuffer> bytes)
    {
        bytes = default;
        if (_pieces.Length < buffers.Length)
        {
            Array.Resize(ref _pieces, Math.Max(buffers.Length, _pieces.Length * 2));
        }

        int count = 0;
        foreach ((ulong gpa, int size) in buffers)
        {
            int head = (int)Math.Min(skip, size);
            int piece = (int)Math.Min(size - head, length);
            skip -= head;
            length -= piece;
            if (piece > 0 && !_queue.Dma.TryLocate(gpa + (ulong)head, piece, out _pieces[count++]))
            {
                return false;
            }
        }

        bytes = _pieces.AsSpan(0, count);
        return true;
    }

    private byte Clear(DescriptorChain chain, bool discard)
    {
        long length = chain.ReadableLength - HeaderSize;
        if (length <= 0 || length % RangeSize != 0 || length / RangeSize > MaxRanges)
        {
            return IoError;
        }

        Span<byte> range = stackalloc byte[RangeSize];
        for (long at = 0; at < length; at += RangeSize)
        {
            if (chain.Read(HeaderSize + at, range) != RangeSize)
            {
                return IoError;
            }

            ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(range);
            uint sectors = BinaryPrimitives.ReadUInt32LittleEndian(range[8..]);
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(range[12..]);
            if ((flags & ~MayUnmap) != 0 || (discard && flags != 0))
            {
                return Unsupported;
            }

            long bytes = (long)sectors * VirtioBlock.Sector;
            if (sectors > MaxSectors || !IsWithin(sector, bytes, out long offset))
            {
                return IoError;
            }

            bool done = bytes == 0 || (discard ? _disk.TryDiscard(offset, bytes) : _disk.TryWriteZeroes(offset, bytes, flags != 0));
            if (!done)
            {
                return IoError;
            }
        }

        return Ok;
    }
}
