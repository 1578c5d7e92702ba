using Yadokari.Core.Memory;
using Yadokari.Devices.Virtio;

namespace Yadokari.Fuzz.Tests.Guests;

/// <summary>
/// A driver that keeps no rule: queues that lie anywhere and over one another, descriptors that lead anywhere, rings that change while they are
/// read, registers written in any order, resets at any time. Enough of it is nearly right, so that devices get far before they find out.
/// </summary>
/// <param name="slot">The device.</param>
/// <param name="random">What to do.</param>
/// <param name="request">Gives a request such as a guest might make, for a queue.</param>
internal sealed class WildDriver(Slot slot, Random random, Func<int, Request> request)
{
    private const ulong Rings = 0x1_0000;
    private const ulong RingStep = 0x4000;
    private const int MostRings = 8;
    private const ulong Buffers = GuardedMemory.HighStart;
    private const ulong BufferStep = 0x8000;
    private const int MostBuffers = 32;
    private const ulong Tables = Buffers + (BufferStep * MostBuffers);

    private static readonly uint[] s_lengths = [0, 1, 15, 16, 17, 511, 512, 4096, 65_536, 1 << 20, (uint)GuardedMemory.HighSize, int.MaxValue, 1u << 31, uint.MaxValue - 15, uint.MaxValue];

    private readonly GuestMemory _memory = slot.Ram.Memory;
    private readonly int _queues = slot.Device.QueueSizes.Count;
    private readonly uint[] _lengths = new uint[MostBuffers];
    private readonly QueueAddresses[] _at = new QueueAddresses[slot.Device.QueueSizes.Count];
    private readonly ushort[] _available = new ushort[slot.Device.QueueSizes.Count];
    private readonly int[] _sizes = new int[slot.Device.QueueSizes.Count];

    private bool Chance(int oneOf) => random.Next(oneOf) == 0;

    /// <summary>Begins with the device, in one of many ways that are mostly right.</summary>
    public void Begin()
    {
        ulong features = VirtioFeatures.Version1 | ((ulong)random.Next(8) << 28) | (Chance(2) ? VirtioFeatures.PackedRing : 0) | (slot.Device.Features & (ulong)random.NextInt64());
        slot.Begin(features & ~(1ul << 30));
        _memory.Write(Rings, new byte[RingStep * MostRings]);
        for (int i = 0; i < MostBuffers; i++)
        {
            PutRequest(i);
        }

        for (int queue = 0; queue < _queues; queue++)
        {
            int most = slot.Device.QueueSizes[queue];
            _sizes[queue] = Chance(8) ? random.Next(most + 2) : Math.Min(1 << random.Next(9), most);
            ulong at = Rings + (RingStep * (ulong)(queue % MostRings));
            _at[queue] = Chance(6) ? new QueueAddresses(Anywhere(), Anywhere(), Anywhere())
                : Chance(6) ? new QueueAddresses(at, at + (16 * (ulong)random.Next(64)), at + (4 * (ulong)random.Next(64)))
                : Chance(6) ? new QueueAddresses(Buffers, Tables, at)
                : new QueueAddresses(at, at + 0x2000, at + 0x3000);
            for (int i = 0; i < 16; i++)
            {
                PutDescriptor(_at[queue].Descriptors + (16 * (ulong)i));
            }

        }

        Enable();

        if (Chance(4))
        {
            slot.WriteSpace(4, [7, (byte)(Chance(2) ? 4 : 0)]);
            slot.Write(Slot.Msix + (ulong)random.Next(256), Noise(8));
        }

        slot.Status = 15;
    }

    /// <summary>Does some of what may come to a guest's mind.</summary>
    public void Act(int steps)
    {
        for (; steps > 0; steps--)
        {
            int queue = random.Next(_queues);
            switch (random.Next(32))
            {
                case < 8:
                    Offer(queue);
                    break;
                case < 16:
                    slot.Kick(queue);
                    break;
                case < 20:
                    PutDescriptor(_at[queue].Descriptors + (16 * (ulong)random.Next(16)));
                    break;
                case < 22:
                    PutDescriptor(Tables + (16 * (ulong)random.Next(256)));
                    break;
                case < 24:
                    PutRequest(random.Next(MostBuffers));
                    break;
                case < 26:
                    WriteRegister();
                    break;
                case < 28:
                    slot.Bus.Read(Register(), new byte[1 << random.Next(4)]);
                    break;
                case 28:
                    _memory.Write(Anywhere(), Noise(random.Next(64)));
                    break;
                case 29:
                    _memory.Write(_at[queue].Driver + (ulong)random.Next(16), Noise(2));
                    break;
                case 30 when Chance(3):
                    WriteSpace();
                    break;
                case 31:
                    Restart();
                    break;
                default:
                    Thread.Yield();
                    break;
            }
        }
    }

    private void Enable()
    {
        for (int queue = 0; queue < _queues; queue++)
        {
            if (!Chance(10))
            {
                slot.Enable(queue, _sizes[queue], _at[queue]);
            }
        }
    }

    // Without waiting for what the device does meanwhile.
    private void Restart()
    {
        if (Chance(2))
        {
            slot.Status = (byte)random.Next(256);
            return;
        }

        for (int resets = random.Next(1, 3); resets > 0; resets--)
        {
            slot.Status = 0;
        }

        if (Chance(2))
        {
            slot.Begin(VirtioFeatures.Version1 | ((ulong)random.Next(4) << 28));
            Enable();
            slot.Status = 15;
        }
    }

    // Puts heads into a split ring, and makes entries of a packed one available.
    private void Offer(int queue)
    {
        (QueueAddresses at, int size) = (_at[queue], Math.Max(1, _sizes[queue]));
        for (int i = random.Next(1, 5); i > 0; i--)
        {
            ushort head = (ushort)(Chance(50) ? random.Next(0x1_0000) : random.Next(Math.Min(size, 16)));
            _memory.Write(at.Driver + 4 + (2 * (ulong)(_available[queue] % size)), BitConverter.GetBytes(head));
            _available[queue] += (ushort)(Chance(100) ? random.Next(0x1_0000) : 1);
        }

        _memory.Write(at.Driver + 2, BitConverter.GetBytes(_available[queue]));
        slot.Kick(queue);
    }

    private void PutDescriptor(ulong at)
    {
        int buffer = random.Next(MostBuffers);
        bool table = Chance(6);
        ulong gpa = Chance(12) ? Anywhere() : table ? Tables + (16 * (ulong)random.Next(256)) : Buffers + (BufferStep * (ulong)buffer) + (Chance(4) ? (ulong)random.Next(64) : 0);
        uint length = Chance(12) ? s_lengths[random.Next(s_lengths.Length)] : table ? 16 * (uint)random.Next(1, 40) : Chance(3) ? (uint)random.Next(8192) : _lengths[buffer];
        ushort flags = (ushort)(Chance(20) ? random.Next(0x1_0000) : (table ? 4 : random.Next(4)) | (Chance(2) ? 0x80 : 0x8000));
        ushort other = (ushort)(Chance(20) ? random.Next(0x1_0000) : random.Next(16));

        // In a split ring flags come first, in a packed one the number does: one descriptor in two is right in each.
        (ushort first, ushort second) = Chance(2) ? ((ushort)(flags & 7), other) : (other, flags);
        _memory.Write(at, [.. BitConverter.GetBytes(gpa), .. BitConverter.GetBytes(length), .. BitConverter.GetBytes(first), .. BitConverter.GetBytes(second)]);
    }

    private void PutRequest(int buffer)
    {
        Request made = request(random.Next(_queues));
        _lengths[buffer] = (uint)Math.Max(made.Bytes.Length, Math.Min(made.Room, (int)BufferStep));
        _memory.Write(Buffers + (BufferStep * (ulong)buffer), made.Bytes.AsSpan(0, Math.Min(made.Bytes.Length, (int)BufferStep)));
    }

    private void WriteRegister()
    {
        byte[] data = Noise(1 << random.Next(4));
        if (Chance(2))
        {
            // Small numbers mean more: queues, sizes, vectors.
            data.AsSpan(1).Clear();
        }

        slot.Bus.Write(Register(), data);
    }

    private ulong Register() => slot.Base + (random.Next(8) switch
    {
        < 4 => Slot.Common + (ulong)random.Next(64),
        4 => Slot.DeviceConfig + (ulong)random.Next(72),
        5 => Slot.Notify + (ulong)random.Next(64),
        6 => Slot.Msix + (ulong)random.Next(0x1000),
        _ => (ulong)random.Next(0x8000),
    });

    private void WriteSpace()
    {
        ulong at = (ulong)random.Next(Chance(4) ? 4096 : 256);
        byte[] data = Noise(1 << random.Next(3));
        if (Chance(2))
        {
            slot.WriteSpace(at & ~(ulong)(data.Length - 1), data);
        }
        else
        {
            slot.ReadSpace(at & ~(ulong)(data.Length - 1), data);
        }
    }

    private ulong Anywhere() => random.Next(10) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => ulong.MaxValue - (ulong)random.Next(0x1000),
        2 => GuardedMemory.LowSize - (ulong)random.Next(0x200),
        3 => GuardedMemory.HighStart + GuardedMemory.HighSize - (ulong)random.Next(0x200),
        4 => GuardedMemory.HighStart - (ulong)random.Next(0x200),
        5 => GuardedMemory.LowSize + (ulong)random.Next(1 << 20),
        < 8 => Rings + (16 * (ulong)random.Next(0x1000)),
        _ => Buffers + (16 * (ulong)random.Next((int)GuardedMemory.HighSize / 16)),
    };

    private byte[] Noise(int length)
    {
        byte[] noise = new byte[length];
        random.NextBytes(noise);
        return noise;
    }
}
