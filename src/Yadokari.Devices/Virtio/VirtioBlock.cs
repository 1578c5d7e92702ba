using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Disks;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>A disk (virtio 1.2, 5.2), of as many queues as are wanted; each serves its requests in turn, all of them at once.</summary>
public sealed class VirtioBlock : VirtioDevice
{
    /// <summary>Bytes of a sector, in which everything counts.</summary>
    public const int Sector = 512;

    // Features (5.2.3).
    private const ulong SegmentsLimited = 1 << 2;
    private const ulong IsReadOnly = 1 << 5;
    private const ulong HasBlockSize = 1 << 6;
    private const ulong CanFlush = 1 << 9;
    private const ulong HasTopology = 1 << 10;
    private const ulong SeveralQueues = 1 << 12;
    private const ulong CanDiscard = 1 << 13;
    private const ulong CanWriteZeroes = 1 << 14;

    // Requests and how they end (5.2.6).
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
    private const int IdSize = 20;
    private const int RangeSize = 16;
    private const uint MayUnmap = 1;
    private const ushort Entries = 256;
    private const int MostRanges = 32;
    private const int MostPieces = 256; // In one of the host's calls.
    private const uint MostSectors = 1 << 22; // In one range: 2 GiB.

    private readonly IDisk _disk;
    private readonly byte[] _config = new byte[60];
    private readonly byte[] _id = new byte[IdSize];

    /// <summary>Makes a disk. The image belongs to it from now on.</summary>
    /// <param name="disk">The image: a multiple of 512 bytes.</param>
    /// <param name="number">Counts the disks of a machine, from 0.</param>
    /// <param name="queues">How many queues.</param>
    /// <param name="id">What the guest can know it by: 20 characters of ASCII at most.</param>
    public VirtioBlock(IDisk disk, int number, int queues, string id)
    {
        _disk = disk;
        Name = $"blk{number}";
        QueueSizes = [.. Enumerable.Repeat(Entries, queues)];
        Encoding.ASCII.GetBytes(id.AsSpan(0, Math.Min(id.Length, IdSize)), _id);
        BinaryPrimitives.WriteUInt64LittleEndian(_config, (ulong)disk.Length / Sector);
        Put(12, Entries - 2); // Segments of a request: header and status take two entries.
        Put(20, Sector);
        _config[24] = 3; // Physical blocks are 8 sectors.
        _config[34] = (byte)queues;
        Put(36, MostSectors);
        Put(40, MostRanges);
        Put(44, 4096 / Sector);
        Put(48, MostSectors);
        Put(52, MostRanges);
        _config[56] = 1;
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override ushort Type => 2;

    /// <inheritdoc/>
    public override uint ClassCode => 0x01_80_00;

    /// <inheritdoc/>
    public override ulong Features => SegmentsLimited | HasBlockSize | HasTopology | CanFlush | (QueueSizes.Count > 1 ? SeveralQueues : 0)
        | (_disk.ReadOnly ? IsReadOnly : CanDiscard | CanWriteZeroes);

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; }

    /// <inheritdoc/>
    public override int ConfigSize => _config.Length;

    /// <inheritdoc/>
    public override void ReadConfig(int offset, Span<byte> data) => CopyConfig(_config, offset, data);

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        while (queue.TryTake(chain))
        {
            long room = chain.WritableLength - 1; // The last byte that the device writes is the status.
            long written = 0;
            byte status = room < 0 || chain.Read(0, header) != HeaderSize ? IoError : Serve(header, chain, queue, room, out written);
            if (room >= 0)
            {
                chain.Write(room, [status]);
            }

            queue.Return(chain, room < 0 ? 0 : (uint)(status == Ok && written == room ? room + 1 : 0));
            returned();
        }

        return true;
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _disk.Dispose();
        base.Dispose();
    }

    private byte Serve(ReadOnlySpan<byte> header, DescriptorChain chain, Virtqueue queue, long room, out long written)
    {
        written = 0;
        uint type = BinaryPrimitives.ReadUInt32LittleEndian(header);
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        switch (type)
        {
            case In:
                written = room;
                bool read = IsWithin(sector, room, out long from) && Read(_disk, chain, queue, from, room);
                foreach ((ulong gpa, int size) in chain.Writable)
                {
                    queue.Dma.Written(gpa, (ulong)size); // What failed may have come in part.
                }

                return read ? Ok : IoError;
            case Out:
                long length = chain.ReadableLength - HeaderSize;
                return !_disk.ReadOnly && IsWithin(sector, length, out long to) && Write(_disk, chain, queue, to) ? Ok : IoError;
            case Flush:
                return _disk.TryFlush() ? Ok : IoError;
            case GetId:
                written = chain.Write(0, _id.AsSpan(0, (int)Math.Min(room, IdSize)));
                return Ok;
            case Discard or WriteZeroes when !_disk.ReadOnly:
                return Clear(chain, type == Discard);
            default:
                return type is Discard or WriteZeroes ? IoError : Unsupported;
        }
    }

    private bool IsWithin(ulong sector, long length, out long offset)
    {
        offset = 0;
        ulong sectors = (ulong)_disk.Length / Sector;
        if (length < 0 || length % Sector != 0 || sector > sectors || (ulong)length / Sector > sectors - sector)
        {
            return false;
        }

        offset = (long)sector * Sector;
        return true;
    }

    private static bool Read(IDisk disk, DescriptorChain chain, Virtqueue queue, long offset, long length)
    {
        Span<HostBuffer> pieces = stackalloc HostBuffer[MostPieces];
        int count = 0;
        long start = offset;
        foreach ((ulong gpa, int size) in chain.Writable)
        {
            int piece = (int)Math.Min(size, length);
            if (piece == 0)
            {
                break;
            }

            if (!queue.Dma.TryLocate(gpa, piece, out pieces[count++]))
            {
                return false;
            }

            offset += piece;
            length -= piece;
            if (count == MostPieces || length == 0)
            {
                if (!disk.TryRead(start, pieces[..count]))
                {
                    return false;
                }

                (start, count) = (offset, 0);
            }
        }

        return true;
    }

    private static bool Write(IDisk disk, DescriptorChain chain, Virtqueue queue, long offset)
    {
        Span<HostBuffer> pieces = stackalloc HostBuffer[MostPieces];
        int count = 0;
        long start = offset;
        long skip = HeaderSize;
        long left = chain.ReadableLength - HeaderSize;
        foreach ((ulong gpa, int size) in chain.Readable)
        {
            int head = (int)Math.Min(skip, size);
            int piece = size - head;
            skip -= head;
            if (piece == 0)
            {
                continue;
            }

            if (!queue.Dma.TryLocate(gpa + (ulong)head, piece, out pieces[count++]))
            {
                return false;
            }

            offset += piece;
            left -= piece;
            if (count == MostPieces || left == 0)
            {
                if (!disk.TryWrite(start, pieces[..count]))
                {
                    return false;
                }

                (start, count) = (offset, 0);
            }
        }

        return true;
    }

    private byte Clear(DescriptorChain chain, bool discard)
    {
        long length = chain.ReadableLength - HeaderSize;
        if (length <= 0 || length % RangeSize != 0 || length / RangeSize > MostRanges)
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

            long bytes = (long)sectors * Sector;
            if (sectors > MostSectors || !IsWithin(sector, bytes, out long offset))
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

    private void Put(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(offset), value);
}
