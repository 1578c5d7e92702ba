using System.Buffers.Binary;
using System.Numerics;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>A split virtqueue: descriptor table, available ring and used ring (virtio 1.2, 2.7).</summary>
internal sealed class SplitQueue : Virtqueue
{
    private const ushort NoInterrupt = 1;
    private const ushort NoKick = 1;

    // Available and used ring: flags, index, entries; behind them used_event and avail_event.
    private const ulong IndexOffset = 2;
    private const ulong RingOffset = 4;

    private ushort _lastAvailable;
    private ushort _usedIndex;
    private ushort _notifiedUsedIndex;

    private SplitQueue(Dma dma, QueueAddresses addresses, int size, ulong features)
        : base(dma, addresses, size, features)
    {
    }

    private ulong UsedEvent => Addresses.Driver + RingOffset + (2 * (ulong)Size);

    private ulong AvailableEvent => Addresses.Device + RingOffset + (8 * (ulong)Size);

    public static SplitQueue? TryCreate(Dma dma, QueueAddresses addresses, int size, ulong features)
    {
        ulong count = (ulong)size;
        return BitOperations.IsPow2(size) && (addresses.Driver & 1) == 0 && (addresses.Device & 3) == 0
            && dma.IsRam(addresses.Descriptors, DescriptorSize * count) && dma.IsRam(addresses.Driver, 6 + (2 * count)) && dma.IsRam(addresses.Device, 6 + (8 * count))
            ? new SplitQueue(dma, addresses, size, features) : null;
    }

    public override bool TryPop(DescriptorChain chain)
    {
        ushort available = ReadUInt16(Addresses.Driver + IndexOffset);
        if (IsBroken || available == _lastAvailable)
        {
            return false;
        }

        if ((ushort)(available - _lastAvailable) > Size)
        {
            return Break();
        }

        ushort number = ReadUInt16(Addresses.Driver + RingOffset + (2 * (ulong)(_lastAvailable & (Size - 1))));
        chain.Clear();
        chain.Id = number;
        for (int seen = 0; ; seen++)
        {
            if (seen == Size || number >= Size || !TryReadDescriptor(Addresses.Descriptors, number, out ulong gpa, out uint length, out ushort flags, out ushort next))
            {
                return Break();
            }

            bool last = (flags & Next) == 0;
            bool added = (flags & Indirect) == 0 ? chain.TryAdd(gpa, length, (flags & DeviceWrites) != 0) : last && AddIndirect(chain, gpa, length, chained: true);
            if (!added)
            {
                return Break();
            }

            if (last)
            {
                _lastAvailable++;
                return true;
            }

            number = next;
        }
    }

    public override void Push(DescriptorChain chain, uint written, bool more)
    {
        Span<byte> entry = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(entry, chain.Id);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], written);
        Dma.TryWrite(Addresses.Device + RingOffset + (8 * (ulong)(_usedIndex & (Size - 1))), entry);
        _usedIndex++;
        if (!more)
        {
            WriteUInt16(Addresses.Device + IndexOffset, _usedIndex);
        }
    }

    public override bool WantsInterrupt()
    {
        ushort before = _notifiedUsedIndex;
        _notifiedUsedIndex = _usedIndex;
        if (before == _usedIndex)
        {
            return false;
        }

        // The driver writes used_event, then reads the used index; the device writes the used index, then reads used_event.
        Interlocked.MemoryBarrier();
        return HasEventIndex ? HasPassed(ReadUInt16(UsedEvent), _usedIndex, before) : (ReadUInt16(Addresses.Driver) & NoInterrupt) == 0;
    }

    public override void DisableKicks()
    {
        if (!HasEventIndex)
        {
            WriteUInt16(Addresses.Device, NoKick);
        }
    }

    public override bool EnableKicks()
    {
        if (HasEventIndex)
        {
            WriteUInt16(AvailableEvent, _lastAvailable);
        }
        else
        {
            WriteUInt16(Addresses.Device, 0);
        }

        Interlocked.MemoryBarrier();
        return !IsBroken && ReadUInt16(Addresses.Driver + IndexOffset) != _lastAvailable;
    }
}
