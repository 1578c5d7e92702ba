using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Disks;

namespace Yadokari.Devices.Virtio;

/// <summary>A block device (virtio 1.2, 5.2) with one or more request queues, which are served in parallel.</summary>
public sealed class VirtioBlock : VirtioDevice
{
    /// <summary>Sector size in bytes, the unit of all offsets.</summary>
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

    private const ushort Entries = 256;

    private readonly IDisk _disk;
    private readonly byte[] _config = new byte[60];
    private readonly byte[] _id = new byte[BlockQueue.IdSize];
    private readonly BlockQueue?[] _queues; // Null for queues that were not kicked since the last reset.

    /// <summary>Creates the device. Does not own <paramref name="disk"/>.</summary>
    /// <param name="disk">The disk, whose size is a multiple of 512 bytes.</param>
    /// <param name="number">Number of the device in the machine, from 0.</param>
    /// <param name="queues">Number of request queues.</param>
    /// <param name="id">The device ID (VIRTIO_BLK_T_GET_ID): 20 ASCII characters at most.</param>
    public VirtioBlock(IDisk disk, int number, int queues, string id)
    {
        _disk = disk;
        Name = $"blk{number}";
        QueueSizes = [.. Enumerable.Repeat(Entries, queues)];
        _queues = new BlockQueue?[queues];
        Encoding.ASCII.GetBytes(id.AsSpan(0, Math.Min(id.Length, _id.Length)), _id);
        BinaryPrimitives.WriteUInt64LittleEndian(_config, (ulong)disk.Length / Sector);
        Put(12, Entries - 2); // Segments of a request: header and status take two entries.
        Put(20, Sector);
        _config[24] = 3; // Physical blocks are 8 sectors.
        _config[34] = (byte)queues;
        Put(36, BlockQueue.MaxSectors);
        Put(40, BlockQueue.MaxRanges);
        Put(44, 4096 / Sector);
        Put(48, BlockQueue.MaxSectors);
        Put(52, BlockQueue.MaxRanges);
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
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        (_queues[number] ??= new BlockQueue(_disk, _id, queue)).Serve(chain, notifyDriver);
        return true;
    }

    /// <inheritdoc/>
    public override void Kicked(int number) => Volatile.Read(ref _queues[number])?.Kicked();

    /// <inheritdoc/>
    public override void Stop()
    {
        foreach (ref BlockQueue? queue in _queues.AsSpan())
        {
            queue?.Dispose();
            queue = null;
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        Stop();
        base.Dispose();
    }

    private void Put(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(offset), value);
}
