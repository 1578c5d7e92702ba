using System.Buffers.Binary;
using System.Net.NetworkInformation;
using Yadokari.Core.Memory;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>The network card between a driver's queues and a network that keeps what it is sent.</summary>
public sealed class NetTests : IDisposable
{
    private const ulong Ring = 0x1_0000;
    private const ulong Data = 0x4_0000;
    private const ulong Merges = 1ul << 15;
    private static readonly byte[] s_mac = [2, 0, 0, 0, 0, 7];

    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly Wire _wire = new();
    private readonly VirtioNet _card;
    private readonly Dma _dma;
    private readonly DescriptorChain _chain;

    public NetTests()
    {
        _card = new VirtioNet(_wire, 0, new PhysicalAddress(s_mac));
        _dma = new Dma(_memory, (_, _) => { });
        _chain = new DescriptorChain(_dma);
    }

    public void Dispose()
    {
        _card.Dispose();
        _memory.Dispose();
    }

    private sealed class Wire : INetwork
    {
        public List<(byte[] Frame, FrameOffload Offload)> Sent { get; } = [];

        public Queue<(byte[] Frame, FrameOffload Offload)> ToGuest { get; } = [];

        public int Flushes { get; private set; }

        public int Mtu => 1500;

        public NetworkOffloads Offloads { get; set; } = NetworkOffloads.All;

        public NetworkOffloads GuestOffloads { get; set; }

        public Action? Arrived { get; set; }

        public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload) => Sent.Add((frame.ToArray(), offload));

        public void Flush() => Flushes++;

        public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload)
        {
            bool any = ToGuest.TryPeek(out (byte[] Frame, FrameOffload Offload) first);
            frame = first.Frame;
            offload = first.Offload;
            return any;
        }

        public void Release() => ToGuest.Dequeue();

        public void Reset() => ToGuest.Clear();

        public void Dispose()
        {
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_frame_fills_as_many_buffers_as_it_needs(bool packed)
    {
        (DriverQueue driver, Virtqueue queue) = Queue(packed, Merges);
        byte[] frame = Frame(5000);
        _wire.ToGuest.Enqueue((frame, new FrameOffload(1, 1, 66, 1448, 34, 16)));
        driver.Add(false, (Data, 1500, true));
        driver.Add(false, (Data + 0x1000, 700, true), (Data + 0x2000, 1300, true));

        // Not enough yet: the driver sees nothing of it, and is to tell when there is more.
        Assert.True(_card.Process(0, queue, _chain, () => Assert.Fail("An interrupt for nothing.")));
        Assert.Null(driver.Take());
        driver.Add(true, (Data + 0x3000, 4096, true));
        driver.Add(false, (Data + 0x8000, 1500, true));
        int interrupts = 0;
        Assert.False(_card.Process(0, queue, _chain, () => interrupts++));
        Assert.Equal(1, interrupts);
        Assert.Equal([1500u, 2000u, 1512u], [driver.Take()!.Value.Written, driver.Take()!.Value.Written, driver.Take()!.Value.Written]);
        Assert.Null(driver.Take());
        byte[] got = [.. Read(Data, 1500), .. Read(Data + 0x1000, 700), .. Read(Data + 0x2000, 1300), .. Read(Data + 0x3000, 1512)];
        Assert.Equal([1, 1, 66, 0, 1448 & 255, 1448 >> 8, 34, 0, 16, 0, 3, 0], got[..12]);
        Assert.Equal(frame, got[12..]);
    }

    [Fact]
    public void Without_merging_a_frame_that_does_not_fit_is_lost_and_the_buffer_kept()
    {
        (DriverQueue driver, Virtqueue queue) = Queue(packed: false, 0);
        _wire.ToGuest.Enqueue((Frame(3000), default));
        _wire.ToGuest.Enqueue((Frame(900), default));
        driver.Add(false, (Data, 1526, true));
        Assert.False(_card.Process(0, queue, _chain, () => { }));
        Assert.Equal(912u, driver.Take()!.Value.Written);
        Assert.Equal(Frame(900), Read(Data + 12, 900));
    }

    [Fact]
    public void What_is_left_undone_is_what_the_driver_takes_over()
    {
        (_, Virtqueue queue) = Queue(packed: false, Merges | (1 << 1) | (1 << 7));
        _card.Process(0, queue, _chain, () => { });
        Assert.Equal(NetworkOffloads.Checksum | NetworkOffloads.Tcp4, _wire.GuestOffloads);
        Assert.Equal(0, Command(5, 0, BitConverter.GetBytes(0ul), 1ul << 2));
        _card.Process(0, queue, _chain, () => { });
        Assert.Equal(NetworkOffloads.None, _wire.GuestOffloads);
    }

    [Fact]
    public void A_network_that_leaves_nothing_undone_offers_nothing()
    {
        _wire.Offloads = NetworkOffloads.None;
        Assert.Equal(0ul, _card.Features & 0x7F83);
    }

    [Fact]
    public void Frames_are_sent_with_what_is_left_undone_if_that_can_be()
    {
        (DriverQueue driver, Virtqueue queue) = Queue(packed: false, 0);
        byte[] frame = Frame(100);
        byte[] good = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        byte[] outside = [1, 0, 0, 0, 0, 0, 90, 0, 9, 0, 0, 0];
        byte[] ofNoSize = [1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        ulong at = Data;
        foreach (byte[] header in new[] { good, outside, ofNoSize, [] })
        {
            _memory.Write(at, [.. header, .. frame]);
            driver.Add(false, header.Length == 0 ? [(at, 11, false)] : [(at, 12, false), (at + 12, 100, false)]);
            at += 0x1000;
        }

        Assert.True(_card.Process(1, queue, _chain, () => { }));
        (byte[] sent, FrameOffload offload) = Assert.Single(_wire.Sent);
        Assert.Equal(frame, sent);
        Assert.Equal(new FrameOffload(1, 0, 0, 0, 34, 16), offload);
        Assert.Equal(1, _wire.Flushes);
    }

    [Fact]
    public void The_driver_says_which_frames_it_wants()
    {
        byte[] other = [2, 0, 0, 0, 0, 9];
        byte[] group = [1, 0, 0x5E, 0, 0, 5];
        byte[] all = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        Assert.Equal([true, false, true, true], Wanted());
        Assert.Equal(0, Command(1, 0, [0, 0, 0, 0, 0, 0, 0, 0]));
        Assert.Equal([true, false, false, true], Wanted());
        Assert.Equal(0, Command(1, 0, [1, 0, 0, 0, .. other, 1, 0, 0, 0, .. group]));
        Assert.Equal([true, true, true, true], Wanted());
        Assert.Equal(0, Command(1, 1, other));
        Assert.Equal([false, true, true, true], Wanted());
        Assert.Equal(0, Command(0, 5, [1]));
        Assert.Equal([false, true, true, false], Wanted());
        Assert.Equal(0, Command(0, 0, [1]));
        Assert.Equal([true, true, true, true], Wanted());
        Assert.Equal(1, Command(0, 9, [1]));
        Assert.Equal(1, Command(77, 0, []));
        _card.Stop();
        Assert.Equal([true, false, true, true], Wanted());

        bool[] Wanted() => [.. new[] { s_mac, other, group, all }.Select(to =>
        {
            (DriverQueue driver, Virtqueue queue) = Queue(packed: false, 0);
            driver.Add(false, (Data, 1526, true));
            byte[] frame = Frame(60);
            to.CopyTo(frame, 0);
            _wire.ToGuest.Enqueue((frame, default));
            _card.Process(0, queue, _chain, () => { });
            return driver.Take() is not null;
        })];
    }

    private int Command(byte group, byte command, byte[] data, ulong accepted = 0)
    {
        (DriverQueue driver, Virtqueue queue) = Queue(packed: false, accepted == 0 ? _card.Accepted : _card.Accepted | accepted);
        _memory.Write(Data, [group, command, .. data]);
        _memory.Write(Data + 0x1000, [0x55]);
        driver.Add(false, (Data, 2 + (uint)data.Length, false), (Data + 0x1000, 1, true));
        _card.Process(2, queue, _chain, () => { });
        Assert.Equal(1u, driver.Take()!.Value.Written);
        return Read(Data + 0x1000, 1)[0];
    }

    private (DriverQueue Driver, Virtqueue Queue) Queue(bool packed, ulong accepted, int size = 16)
    {
        _card.Accepted = accepted;
        var driver = new DriverQueue(_memory, Ring, size, packed);
        ulong features = (1ul << 28) | (packed ? 1ul << 34 : 0);
        return (driver, Virtqueue.Create(_dma, driver.Addresses, size, features)!);
    }

    private byte[] Read(ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        _memory.Read(gpa, bytes);
        return bytes;
    }

    private static byte[] Frame(int length)
    {
        byte[] frame = new byte[length];
        new Random(length).NextBytes(frame);
        s_mac.CopyTo(frame, 0);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0800);
        return frame;
    }
}
