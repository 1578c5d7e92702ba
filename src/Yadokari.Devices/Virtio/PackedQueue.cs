using System.Buffers.Binary;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>A packed queue: one ring of descriptors that both sides write, telling new from old by two bits (virtio 1.2, 2.8).</summary>
internal sealed class PackedQueue : Virtqueue
{
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;
    private const int FlagsOffset = 14;

    // Event suppression: where and in which round, then what.
    private const ulong EventFlagsOffset = 2;
    private const ushort EventsOn = 0;
    private const ushort EventsOff = 1;
    private const ushort EventAt = 2;
    private const ushort Round = 1 << 15;

    private ushort _take;
    private bool _takeRound = true;
    private ushort _return;
    private bool _returnRound = true;
    private ushort _told;
    private bool _wrapped; // Since the driver was last told.
    private bool _returnedAny;
    private ulong _heldFlagsAt; // Of the first of several that the driver is to see together: written last. 0 for none.
    private ushort _heldFlags;

    private PackedQueue(Dma dma, QueueAddresses addresses, int size, ulong features)
        : base(dma, addresses, size, features)
    {
    }

    public static PackedQueue? TryCreate(Dma dma, QueueAddresses addresses, int size, ulong features) =>
        (addresses.Driver & 3) == 0 && (addresses.Device & 3) == 0
        && dma.IsRam(addresses.Descriptors, DescriptorSize * (ulong)size) && dma.IsRam(addresses.Driver, 4) && dma.IsRam(addresses.Device, 4)
            ? new PackedQueue(dma, addresses, size, features) : null;

    public override bool TryTake(DescriptorChain chain)
    {
        if (IsBroken || !IsAvailable())
        {
            return false;
        }

        chain.Clear();
        uint number = _take;
        bool round = _takeRound;
        while (true)
        {
            if (chain.Entries == Size || !TryReadDescriptor(Addresses.Descriptors, number, out ulong gpa, out uint length, out ushort id, out ushort flags))
            {
                return Break();
            }

            chain.Entries++;
            bool last = (flags & Next) == 0;
            bool added = (flags & Indirect) == 0 ? chain.TryAdd(gpa, length, (flags & DeviceWrites) != 0)
                : last && chain.Entries == 1 && AddIndirect(chain, gpa, length, chained: false);
            if (!added)
            {
                return Break();
            }

            if (++number == Size)
            {
                number = 0;
                round = !round;
            }

            if (last)
            {
                chain.Id = id;
                _take = (ushort)number;
                _takeRound = round;
                return true;
            }
        }
    }

    public override void Return(DescriptorChain chain, uint written, bool more)
    {
        ulong entry = Addresses.Descriptors + ((ulong)_return * DescriptorSize);
        Span<byte> bytes = stackalloc byte[6];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, written);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[4..], chain.Id);
        Dma.TryWrite(entry + 8, bytes);
        ushort flags = (ushort)((_returnRound ? Available | Used : 0) | (written > 0 ? DeviceWrites : 0));
        if (more && _heldFlagsAt == 0)
        {
            (_heldFlagsAt, _heldFlags) = (entry + FlagsOffset, flags);
        }
        else
        {
            WriteUInt16(entry + FlagsOffset, flags);
        }

        if (!more && _heldFlagsAt != 0)
        {
            WriteUInt16(_heldFlagsAt, _heldFlags);
            _heldFlagsAt = 0;
        }

        int next = _return + chain.Entries;
        if (next >= Size)
        {
            next -= Size;
            _returnRound = !_returnRound;
            _wrapped = true;
        }

        _return = (ushort)next;
        _returnedAny = true;
    }

    public override bool WantsInterrupt()
    {
        if (!_returnedAny)
        {
            return false;
        }

        (ushort before, bool wrapped) = (_told, _wrapped);
        (_told, _wrapped, _returnedAny) = (_return, false, false);
        Interlocked.MemoryBarrier();
        ushort flags = ReadUInt16(Addresses.Driver + EventFlagsOffset);
        if (flags != EventAt || !HasEventIndex)
        {
            return flags != EventsOff;
        }

        // Across the ring's end the three can't be held against one another: better one too many.
        ushort at = ReadUInt16(Addresses.Driver);
        int awaited = (at & ~Round) - ((at & Round) != 0 == _returnRound ? 0 : Size);
        return wrapped || HasPassed((ushort)awaited, _return, before);
    }

    public override void DisableKicks() => WriteUInt16(Addresses.Device + EventFlagsOffset, EventsOff);

    public override bool EnableKicks()
    {
        if (HasEventIndex)
        {
            WriteUInt16(Addresses.Device, (ushort)(_take | (_takeRound ? Round : 0)));
        }

        WriteUInt16(Addresses.Device + EventFlagsOffset, HasEventIndex ? EventAt : EventsOn);
        Interlocked.MemoryBarrier();
        return !IsBroken && IsAvailable();
    }

    private bool IsAvailable()
    {
        ushort flags = ReadUInt16(Addresses.Descriptors + ((ulong)_take * DescriptorSize) + FlagsOffset);
        return (flags & Available) != 0 == _takeRound && (flags & Used) != 0 != _takeRound;
    }
}
