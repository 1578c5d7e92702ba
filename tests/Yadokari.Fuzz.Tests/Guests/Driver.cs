using System.Numerics;
using Yadokari.Devices.Virtio;

namespace Yadokari.Fuzz.Tests.Guests;

/// <summary>A request of a driver's: bytes for the device to read, and room for it to write.</summary>
internal readonly record struct Request(byte[] Bytes, int Room);

/// <summary>A driver that keeps the rules of queues, in a way chosen at random; what it says in them is another's affair.</summary>
internal sealed class Driver
{
    private const int MostQueues = 15;
    private const int LeastSize = 16;
    private const int MostSize = 64;
    private const ulong QueueBytes = 0x1_0000;
    private const ulong LongLived = GuardedMemory.HighStart; // Buffers that wait for what the host has to say.
    private const ulong ShortLived = GuardedMemory.HighStart + (GuardedMemory.HighSize / 2);
    private const int MostPieces = 6;

    private readonly Slot _slot;
    private readonly Random _random;
    private readonly Queue[] _queues;
    private readonly bool _indirect;
    private ulong _longLived = LongLived;
    private ulong _shortLived = ShortLived;

    /// <summary>Begins with a device anew.</summary>
    /// <param name="slot">The device.</param>
    /// <param name="random">Chooses the ways.</param>
    /// <param name="all">Whether to accept all of its own features, else some of them.</param>
    public Driver(Slot slot, Random random, bool all)
    {
        (_slot, _random) = (slot, random);
        slot.Reset();
        bool packed = random.Next(2) == 0;
        _indirect = random.Next(2) == 0;
        ulong features = VirtioFeatures.Version1 | (packed ? VirtioFeatures.PackedRing : 0) | (_indirect ? VirtioFeatures.IndirectDescriptors : 0)
            | (random.Next(2) == 0 ? VirtioFeatures.EventIndex : 0) | (slot.Device.Features & (all ? ulong.MaxValue : (ulong)random.NextInt64()));
        Assert.True(slot.Begin(features), "Features that were offered are refused.");
        _queues = new Queue[Math.Min(slot.Device.QueueSizes.Count, MostQueues)];
        for (int i = 0; i < _queues.Length; i++)
        {
            int size = Math.Min(random.Next(LeastSize, MostSize + 1), slot.Device.QueueSizes[i]);
            size = packed ? size : 1 << BitOperations.Log2((uint)size);
            _queues[i] = new Queue(new DriverQueue(slot.Ram.Memory, QueueBytes * (ulong)(i + 1), size, packed), size);
            slot.Enable(i, size, _queues[i].Ring.Addresses);
        }

        slot.Status = 15;
    }

    private sealed class Queue(DriverQueue ring, int free)
    {
        public readonly Dictionary<ushort, (List<(ulong Gpa, uint Length)> Room, int Entries)> Waiting = [];

        public DriverQueue Ring => ring;

        public int Free { get; set; } = free;
    }

    public GuardedMemory Ram => _slot.Ram;

    public int Queues => _queues.Length;

    public int Waiting(int queue) => _queues[queue].Waiting.Count;

    /// <summary>Puts a request in, if the queue has room, cut into buffers at random. It lasts until as much as the guest has memory was put in after it.</summary>
    public bool TrySubmit(int queue, Request request, bool longLived = false)
    {
        Queue to = _queues[queue];
        if (request.Bytes.Length + request.Room == 0)
        {
            request = request with { Room = 1 };
        }

        ulong at = Allocate((uint)(request.Bytes.Length + request.Room), longLived);
        List<(ulong Gpa, uint Length)> read = Cut(at, request.Bytes.Length);
        List<(ulong Gpa, uint Length)> room = Cut(at + (ulong)request.Bytes.Length, request.Room);
        bool indirect = _indirect && (_random.Next(4) != 0 || to.Free < read.Count + room.Count);
        int entries = indirect ? 1 : read.Count + room.Count;
        if (to.Free < entries)
        {
            return false;
        }

        _slot.Ram.Memory.Write(at, request.Bytes);
        ushort id = to.Ring.Add(indirect, [.. read.Select(piece => (piece.Gpa, piece.Length, false)), .. room.Select(piece => (piece.Gpa, piece.Length, true))]);
        to.Waiting.Add(id, (room, entries));
        to.Free -= entries;
        _slot.Kick(queue);
        return true;
    }

    /// <summary>Takes the next request that came back: what the device wrote into its room, and how much it says that was.</summary>
    public bool TryTake(int queue, out byte[] reply, out uint written)
    {
        Queue from = _queues[queue];
        (reply, written) = ([], 0);
        if (from.Ring.Take() is not { } done)
        {
            return false;
        }

        Assert.True(from.Waiting.Remove(done.Id, out (List<(ulong Gpa, uint Length)> Room, int Entries) request), $"Queue {queue} returns what is not in it.");
        from.Free += request.Entries;
        Assert.InRange(done.Written, 0u, (uint)request.Room.Sum(piece => piece.Length));
        written = done.Written;
        reply = [.. request.Room.SelectMany(piece =>
        {
            byte[] bytes = new byte[piece.Length];
            _slot.Ram.Memory.Read(piece.Gpa, bytes);
            return bytes;
        })];
        return true;
    }

    /// <summary>The request must come back.</summary>
    public byte[] Ask(int queue, Request request, out uint written)
    {
        Assert.True(TrySubmit(queue, request));
        byte[] reply = [];
        uint count = 0;
        Slot.WaitFor(() => TryTake(queue, out reply, out count), $"a request in queue {queue}");
        written = count;
        return reply;
    }

    public byte[] Ask(int queue, byte[] bytes, int room) => Ask(queue, new Request(bytes, room), out _);

    private ulong Allocate(uint length, bool longLived)
    {
        ref ulong next = ref longLived ? ref _longLived : ref _shortLived;
        ulong start = longLived ? LongLived : ShortLived;
        next = next + length > start + (GuardedMemory.HighSize / 2) ? start : next;
        next += length;
        return next - length;
    }

    private List<(ulong Gpa, uint Length)> Cut(ulong at, int length)
    {
        List<(ulong, uint)> pieces = [];
        int[] ends = [.. Enumerable.Range(0, _random.Next(MostPieces)).Select(_ => _random.Next(length + 1)).Append(length).Order()];
        int start = 0;
        foreach (int end in ends.Where(end => end > 0).Distinct())
        {
            pieces.Add((at + (ulong)start, (uint)(end - start)));
            start = end;
        }

        return pieces;
    }
}
