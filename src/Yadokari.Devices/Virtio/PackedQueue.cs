using System.Buffers.Binary;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>A packed virtqueue: one descriptor ring that both sides write, with available and used flags and wrap counters (virtio 1.2, 2.8).</summary>
internal sealed class PackedQueue : Virtqueue
{
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;
    private const int FlagsOffset = 14;

    // Event suppression structure: offset and wrap counter, then flags.
    private const ulong EventFlagsOffset = 2;
    private const ushort EventsOn = 0;
    private const ushort EventsOff = 1;
    private const ushort EventAt = 2;
    private const ushort WrapCounter = 1 << 15;

    private ushort _nextAvailable;
    private bool _availableWrapCounter = true;
    private ushort _nextUsed;
    private bool _usedWrapCounter = true;
    private ushort _notifiedUsed;
    private bool _wrapped; // Since the last interrupt decision.
    private bool _pushedAny;
    private ulong _heldFlagsAt; // Flags of the first chain of a batch, which are written last and publish the batch. 0 for none.
    private ushort _heldFlags;

    private PackedQueue(Dma dma, QueueAddresses addresses, int size, ulong features)
        : base(dma, addresses, size, features)
    {
    }

    public static PackedQueue? TryCreate(Dma dma, QueueAddresses addresses, int size, ulong features) =>
        (addresses.Driver & 3) == 0 && (addresses.Device & 3) == 0
        && dma.IsRam(addresses.Descriptors, DescriptorSize * (ulong)size) && dma.IsRam(addresses.Driver, 4) && dma.IsRam(addresses.Device, 4)
            ? new PackedQueue(dma, addresses, size, features) : null;

    public override bool TryPop(DescriptorChain chain)
    {
        if (IsBroken || !IsAvailable())
        {
            return false;
        }

        chain.Clear();
        uint number = _nextAvailable;
        bool wrapCounter = _availableWrapCounter;
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
                wrapCounter = !wrapCounter;
            }

            if (last)
            {
                chain.Id = id;
                _nextAvailable = (ushort)number;
                _availableWrapCounter = wrapCounter;
                return true;
            }
        }
    }

    public override void Push(DescriptorChain chain, uint written, bool more)
    {
        ulong entry = Addresses.Descriptors + ((ulong)_nextUsed * DescriptorSize);
        Span<byte> bytes = stackalloc byte[6];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, written);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[4..], chain.Id);
        Dma.TryWrite(entry + 8, bytes);
        ushort flags = (ushort)((_usedWrapCounter ? Available | Used : 0) | (written > 0 ? DeviceWrites : 0));
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

        int next = _nextUsed + chain.Entries;
        if (next >= Size)
        {
            next -= Size;
            _usedWrapCounter = !_usedWrapCounter;
            _wrapped = true;
        }

        _nextUsed = (ushort)next;
        _pushedAny = true;
    }

    public override bool WantsInterrupt()
    {
        if (!_pushedAny)
        {
            return false;
        }

        (ushort before, bool wrapped) = (_notifiedUsed, _wrapped);
        (_notifiedUsed, _wrapped, _pushedAny) = (_nextUsed, false, false);
        Interlocked.MemoryBarrier();
        ushort flags = ReadUInt16(Addresses.Driver + EventFlagsOffset);
        if (flags != EventAt || !HasEventIndex)
        {
            return flags != EventsOff;
        }

        // After a wrap the three indices are not comparable: rather one interrupt too many.
        ushort at = ReadUInt16(Addresses.Driver);
        int awaited = (at & ~WrapCounter) - ((at & WrapCounter) != 0 == _usedWrapCounter ? 0 : Size);
        return wrapped || HasPassed((ushort)awaited, _nextUsed, before);
    }

    public override void DisableKicks() => WriteUInt16(Addresses.Device + EventFlagsOffset, EventsOff);

    public override bool EnableKicks()
    {
        if (HasEventIndex)
        {
            WriteUInt16(Addresses.Device, (ushort)(_nextAvailable | (_availableWrapCounter ? WrapCounter : 0)));
        }

        WriteUInt16(Addresses.Device + EventFlagsOffset, HasEventIndex ? EventAt : EventsOn);
        Interlocked.MemoryBarrier();
        return !IsBroken && IsAvailable();
    }

    private bool IsAvailable()
    {
        ushort flags = ReadUInt16(Addresses.Descriptors + ((ulong)_nextAvailable * DescriptorSize) + FlagsOffset);
        return (flags & Available) != 0 == _availableWrapCounter && (flags & Used) != 0 != _availableWrapCounter;
    }
}
