using Yadokari.Core.Memory;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>Queues of both kinds against a driver's model of them, and against drivers that do what they may not.</summary>
public sealed class QueueTests : IDisposable
{
    private const ulong Ring = 0x1_0000;
    private const ulong Data = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly List<(ulong Gpa, ulong Length)> _written = [];
    private readonly Dma _dma;

    public QueueTests() => _dma = new Dma(_memory, (gpa, length) => _written.Add((gpa, length)));

    public void Dispose() => _memory.Dispose();

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(false, false, true)]
    [InlineData(false, true, false)]
    [InlineData(false, true, true)]
    [InlineData(true, false, false)]
    [InlineData(true, false, true)]
    [InlineData(true, true, false)]
    [InlineData(true, true, true)]
    public void Requests_arrive_whole_and_come_back(bool packed, bool indirect, bool events)
    {
        (DriverQueue driver, Virtqueue queue) = Make(packed, 8, events);
        var chain = new DescriptorChain(_dma);
        var random = new Random(1);
        for (int round = 0; round < 300; round++)
        {
            int requests = random.Next(1, indirect ? 9 : 2);
            var ids = new List<ushort>();
            for (int i = 0; i < requests; i++)
            {
                uint length = (uint)random.Next(1, 300);
                ulong at = Data + ((ulong)i * 0x1000);
                byte[] sent = [(byte)round, (byte)i, 3, 4];
                _memory.Write(at, sent);
                ids.Add(driver.Add(indirect, (at, 2, false), (at + 2, 2, false), (at + 0x100, length, true), (at + 0x800, 10, true)));
            }

            for (int i = 0; i < requests; i++)
            {
                Assert.True(queue.TryPop(chain));
                byte[] got = new byte[9];
                Assert.Equal(4, chain.Read(0, got));
                Assert.Equal([(byte)round, (byte)i, 3, 4], got[..4]);
                Assert.Equal(2, chain.Read(2, got));
                Assert.Equal(2, chain.Writable.Length);
                Assert.Equal(10, chain.Write(chain.WritableLength - 10, new byte[20]));
                queue.Push(chain, (uint)i + 1);
            }

            Assert.False(queue.TryPop(chain));
            for (int i = 0; i < requests; i++)
            {
                Assert.Equal((ids[i], (uint)i + 1), driver.Take());
            }

            Assert.Null(driver.Take());
        }

        Assert.False(queue.IsBroken);
        Assert.Contains(_written, w => w.Gpa >= Data);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Interrupts_come_when_the_driver_wants_them(bool packed)
    {
        (DriverQueue driver, Virtqueue queue) = Make(packed, 8, events: false);
        Assert.False(queue.WantsInterrupt());
        Serve(driver, queue, 1);
        Assert.True(queue.WantsInterrupt());
        Assert.False(queue.WantsInterrupt());
        driver.Interrupts(on: false);
        Serve(driver, queue, 1);
        Assert.False(queue.WantsInterrupt());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void With_event_index_they_come_at_the_index(bool packed)
    {
        (DriverQueue driver, Virtqueue queue) = Make(packed, 16, events: true);
        for (int round = 0; round < 100; round++)
        {
            driver.InterruptAfter(2);
            Serve(driver, queue, 1, take: false);
            bool first = queue.WantsInterrupt();
            Serve(driver, queue, 1, take: false);
            Assert.False(queue.WantsInterrupt() && first && !packed);
            Serve(driver, queue, 1, take: false);
            bool third = queue.WantsInterrupt();
            Assert.True(first || third, $"{round}");
            Assert.True(packed || (!first && third), $"{round}");
            while (driver.Take() is not null)
            {
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Kicks_are_wanted_while_nobody_serves(bool packed)
    {
        (DriverQueue driver, Virtqueue queue) = Make(packed, 8, events: false);
        queue.DisableKicks();
        Assert.False(driver.WantsKick);
        Assert.False(queue.EnableKicks());
        Assert.True(driver.WantsKick);
        driver.Add(false, (Data, 1, false));
        Assert.True(queue.EnableKicks());
    }

    [Theory]
    [InlineData(false, "loop")]
    [InlineData(false, "far index")]
    [InlineData(false, "no such descriptor")]
    [InlineData(false, "no RAM")]
    [InlineData(false, "write before read")]
    [InlineData(false, "table of odd length")]
    [InlineData(false, "table in a table")]
    [InlineData(false, "table that loops")]
    [InlineData(true, "loop")]
    [InlineData(true, "no RAM")]
    [InlineData(true, "write before read")]
    [InlineData(true, "table of odd length")]
    [InlineData(true, "table in a table")]
    public void What_a_driver_may_not_do_breaks_the_queue(bool packed, string what)
    {
        (DriverQueue driver, Virtqueue queue) = Make(packed, 8, events: false);
        void Entry(ulong at, ulong gpa, uint length, ushort flags, ushort next)
        {
            byte[] tail = packed ? [0, 0, (byte)(flags | 0x80), 0] : [(byte)flags, 0, (byte)next, (byte)(next >> 8)];
            _memory.Write(at, [.. BitConverter.GetBytes(gpa), .. BitConverter.GetBytes(length), .. tail]);
        }

        driver.Add(false, (Data, 4, false));
        switch (what)
        {
            case "loop":
                for (ushort i = 0; i < 8; i++)
                {
                    Entry(Ring + (16ul * i), Data, 4, 1, (ushort)((i + 1) % 8));
                }

                break;
            case "far index":
                _memory.Write(driver.Addresses.Driver + 2, [9, 0]);
                break;
            case "no such descriptor":
                _memory.Write(driver.Addresses.Driver + 4, [8, 0]);
                break;
            case "no RAM":
                Entry(Ring, 0xFFFF_FFFF_FFFF_FFF0, 0x20, 0, 0);
                break;
            case "write before read":
                Entry(Ring, Data, 4, 3, 1);
                Entry(Ring + 16, Data, 4, 0, 0);
                break;
            case "table of odd length":
                Entry(Ring, Data, 17, 4, 0);
                break;
            case "table in a table":
                Entry(Ring, Data, 16, 4, 0);
                Entry(Data, Data, 16, 4, 0);
                break;
            default:
                Entry(Ring, Data, 32, 4, 0);
                Entry(Data, Data, 4, 1, 0);
                break;
        }

        var chain = new DescriptorChain(_dma);
        Assert.False(queue.TryPop(chain), what);
        Assert.True(queue.IsBroken, what);
        Assert.False(queue.EnableKicks());
    }

    [Theory]
    [InlineData(false, 0x1_0008, 8)]
    [InlineData(false, 0x1_0000, 7)]
    [InlineData(true, 0x1_0008, 8)]
    [InlineData(false, 0x40_0000, 8)]
    [InlineData(true, 0x3F_FFF0, 8)]
    public void A_queue_that_cannot_be_is_not_made(bool packed, ulong at, int size)
    {
        ulong features = packed ? VirtioFeatures.PackedRing : 0;
        Assert.Null(Virtqueue.Create(_dma, new QueueAddresses(at, 0x2_0000, 0x3_0000), size, features));
        Assert.NotNull(Virtqueue.Create(_dma, new QueueAddresses(0x1_0000, 0x2_0000, 0x3_0000), 8, features));
    }

    private (DriverQueue Driver, Virtqueue Queue) Make(bool packed, int size, bool events)
    {
        var driver = new DriverQueue(_memory, Ring, size, packed);
        ulong features = VirtioFeatures.IndirectDescriptors | (packed ? VirtioFeatures.PackedRing : 0) | (events ? VirtioFeatures.EventIndex : 0);
        return (driver, Virtqueue.Create(_dma, driver.Addresses, size, features)!);
    }

    private void Serve(DriverQueue driver, Virtqueue queue, int count, bool take = true)
    {
        var chain = new DescriptorChain(_dma);
        for (int i = 0; i < count; i++)
        {
            driver.Add(false, (Data, 4, true));
            Assert.True(queue.TryPop(chain));
            queue.Push(chain, 4);
            if (take)
            {
                Assert.NotNull(driver.Take());
            }
        }
    }
}
