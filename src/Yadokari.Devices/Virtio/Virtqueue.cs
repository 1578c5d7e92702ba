using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>Guest physical addresses of the three areas of a virtqueue.</summary>
/// <param name="Descriptors">Descriptor table, or packed ring.</param>
/// <param name="Driver">Available ring, or the driver's event suppression.</param>
/// <param name="Device">Used ring, or the device's event suppression.</param>
public readonly record struct QueueAddresses(ulong Descriptors, ulong Driver, ulong Device);

/// <summary>
/// The device's side of a virtqueue in guest memory (virtio 1.2, 2.6). A driver that violates the specification breaks the queue: no more
/// requests are popped from it. One thread at a time.
/// </summary>
public abstract class Virtqueue
{
    /// <summary>The maximum queue size in entries.</summary>
    public const int MaxEntries = 32768;

    private protected const ushort Next = 1;
    private protected const ushort DeviceWrites = 2;
    private protected const ushort Indirect = 4;
    private protected const int DescriptorSize = 16;

    private protected Virtqueue(Dma dma, QueueAddresses addresses, int size, ulong features)
    {
        Dma = dma;
        Addresses = addresses;
        Size = size;
        HasEventIndex = (features & VirtioFeatures.EventIndex) != 0;
        HasIndirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
    }

    /// <summary>Guest memory.</summary>
    public Dma Dma { get; }

    /// <summary>The queue size in entries.</summary>
    public int Size { get; }

    /// <summary>Whether the driver violated the specification.</summary>
    public bool IsBroken { get; private protected set; }

    private protected QueueAddresses Addresses { get; }

    private protected bool HasEventIndex { get; }

    private protected bool HasIndirect { get; }

    /// <summary>Creates the device's side of a virtqueue. Null if the addresses are not aligned RAM, or the size is invalid.</summary>
    public static Virtqueue? Create(Dma dma, QueueAddresses addresses, int size, ulong features)
    {
        bool packed = (features & VirtioFeatures.PackedRing) != 0;
        if (size is < 1 or > MaxEntries || (addresses.Descriptors & 15) != 0)
        {
            return null;
        }

        return packed ? PackedQueue.TryCreate(dma, addresses, size, features) : SplitQueue.TryCreate(dma, addresses, size, features);
    }

    /// <summary>Pops the next available descriptor chain. False if there is none, or the queue is broken.</summary>
    public abstract bool TryPop(DescriptorChain chain);

    /// <summary>Pushes a descriptor chain to the used ring.</summary>
    /// <param name="chain">A chain from <see cref="TryPop"/>.</param>
    /// <param name="written">The used length: bytes written from the first device-writable byte on.</param>
    /// <param name="more">Whether the used index is updated only with the next chain, which follows at once.</param>
    public abstract void Push(DescriptorChain chain, uint written, bool more = false);

    /// <summary>Whether the driver wants an interrupt for chains pushed since the last call.</summary>
    public abstract bool WantsInterrupt();

    /// <summary>Suppresses available buffer notifications (kicks).</summary>
    public abstract void DisableKicks();

    /// <summary>Enables available buffer notifications (kicks). True if a chain is available already.</summary>
    public abstract bool EnableKicks();

    private protected bool Break()
    {
        IsBroken = true;
        return false;
    }

    // All ring addresses are RAM, as checked at creation. The driver writes to them concurrently.
    private protected ushort ReadUInt16(ulong gpa) => Dma.TrySlice(gpa, 2, out Span<byte> bytes) ? Volatile.Read(ref MemoryMarshal.AsRef<ushort>(bytes)) : (ushort)0;

    private protected void WriteUInt16(ulong gpa, ushort value)
    {
        if (Dma.TrySlice(gpa, 2, out Span<byte> bytes))
        {
            Volatile.Write(ref MemoryMarshal.AsRef<ushort>(bytes), value);
            Dma.Written(gpa, 2);
        }
    }

    /// <summary>vring_need_event: whether the index has passed the event index (virtio 1.2, 2.7.7.2).</summary>
    private protected static bool HasPassed(ushort awaited, ushort now, ushort before) => (ushort)(now - awaited - 1) < (ushort)(now - before);

    private protected bool AddIndirect(DescriptorChain chain, ulong table, uint length, bool chained)
    {
        if (!HasIndirect || length == 0 || length % DescriptorSize != 0 || length / DescriptorSize > DescriptorChain.MaxBuffers || !Dma.IsRam(table, length))
        {
            return false;
        }

        uint count = length / DescriptorSize;
        uint at = 0;
        for (uint seen = 0; seen < count; seen++)
        {
            if (!TryReadDescriptor(table, at, out ulong gpa, out uint bytes, out ushort first, out ushort second))
            {
                return false;
            }

            (ushort flags, ushort next) = chained ? (first, second) : (second, first);
            if ((flags & Indirect) != 0 || !chain.TryAdd(gpa, bytes, (flags & DeviceWrites) != 0))
            {
                return false;
            }

            if (!chained)
            {
                at++;
                continue;
            }

            if ((flags & Next) == 0)
            {
                return true;
            }

            if (next >= count)
            {
                return false;
            }

            at = next;
        }

        return !chained; // A chain with more descriptors than its table has a loop.
    }

    // first and second: flags and next in a split ring, id and flags in a packed one.
    private protected bool TryReadDescriptor(ulong table, uint number, out ulong gpa, out uint length, out ushort first, out ushort second)
    {
        bool read = Dma.TrySlice(table + (number * (ulong)DescriptorSize), DescriptorSize, out Span<byte> bytes);
        gpa = read ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : 0;
        length = read ? BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) : 0;
        first = read ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[12..]) : (ushort)0;
        second = read ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[14..]) : (ushort)0;
        return read;
    }
}
