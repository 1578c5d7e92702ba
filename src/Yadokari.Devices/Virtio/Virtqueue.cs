using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>Where the three parts of a queue lie in guest memory.</summary>
/// <param name="Descriptors">Descriptor table, or packed ring.</param>
/// <param name="Driver">Available ring, or the driver's event suppression.</param>
/// <param name="Device">Used ring, or the device's event suppression.</param>
public readonly record struct QueueAddresses(ulong Descriptors, ulong Driver, ulong Device);

/// <summary>
/// A queue of requests in guest memory, seen by the device (virtio 1.2, 2.6). A driver that breaks its rules breaks the queue: it gives nothing
/// any more. One thread at a time.
/// </summary>
public abstract class Virtqueue
{
    /// <summary>The most entries of a queue.</summary>
    public const int MostEntries = 32768;

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

    /// <summary>How many entries it has.</summary>
    public int Size { get; }

    /// <summary>The driver broke a rule.</summary>
    public bool IsBroken { get; private protected set; }

    private protected QueueAddresses Addresses { get; }

    private protected bool HasEventIndex { get; }

    private protected bool HasIndirect { get; }

    /// <summary>Makes the device's side of a queue. Null if its parts can't lie there, or it can't have that size.</summary>
    public static Virtqueue? Create(Dma dma, QueueAddresses addresses, int size, ulong features)
    {
        bool packed = (features & VirtioFeatures.PackedRing) != 0;
        if (size is < 1 or > MostEntries || (addresses.Descriptors & 15) != 0)
        {
            return null;
        }

        return packed ? PackedQueue.TryCreate(dma, addresses, size, features) : SplitQueue.TryCreate(dma, addresses, size, features);
    }

    /// <summary>Takes the next request. False if there is none, or the queue is broken.</summary>
    public abstract bool TryTake(DescriptorChain chain);

    /// <summary>Gives a request back.</summary>
    /// <param name="chain">What <see cref="TryTake"/> gave.</param>
    /// <param name="written">How many bytes from the first on were written.</param>
    /// <param name="more">Whether the driver is to see it only together with the next one, which follows at once.</param>
    public abstract void Return(DescriptorChain chain, uint written, bool more = false);

    /// <summary>Whether the driver wants an interrupt for what was returned since this was last asked.</summary>
    public abstract bool WantsInterrupt();

    /// <summary>Asks the driver not to tell of new requests.</summary>
    public abstract void DisableKicks();

    /// <summary>Asks the driver to tell of the next request. True if there is one already.</summary>
    public abstract bool EnableKicks();

    private protected bool Break()
    {
        IsBroken = true;
        return false;
    }

    // All of these lie in RAM: that was looked at when the queue was made. The other side writes them at the same time.
    private protected ushort ReadUInt16(ulong gpa) => Dma.TrySlice(gpa, 2, out Span<byte> bytes) ? Volatile.Read(ref MemoryMarshal.AsRef<ushort>(bytes)) : (ushort)0;

    private protected void WriteUInt16(ulong gpa, ushort value)
    {
        if (Dma.TrySlice(gpa, 2, out Span<byte> bytes))
        {
            Volatile.Write(ref MemoryMarshal.AsRef<ushort>(bytes), value);
            Dma.Written(gpa, 2);
        }
    }

    /// <summary>Whether an index has passed the one that the other side waits for (virtio 1.2, 2.7.7.2).</summary>
    private protected static bool HasPassed(ushort awaited, ushort now, ushort before) => (ushort)(now - awaited - 1) < (ushort)(now - before);

    private protected bool AddIndirect(DescriptorChain chain, ulong table, uint length, bool chained)
    {
        if (!HasIndirect || length == 0 || length % DescriptorSize != 0 || length / DescriptorSize > DescriptorChain.MostBuffers || !Dma.IsRam(table, length))
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

        return !chained; // A chain that is longer than its table is a loop.
    }

    // The last two numbers: flags and next of a split ring's, id and flags of a packed one's.
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
