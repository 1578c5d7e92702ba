using System.Collections.Concurrent;
using System.Net.NetworkInformation;
using Yadokari.Core.Networks;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>A network card, and a network that takes every frame and sends its own.</summary>
internal sealed class NetTarget : Target
{
    private const int MostFrames = 64;
    private static readonly byte[] s_mac = [2, 0, 0, 0, 0, 7];

    private readonly Wire _wire = new();

    public NetTarget() => Device = new VirtioNet(_wire, 0, new PhysicalAddress(s_mac));

    public override VirtioDevice Device { get; }

    public override bool Answers(int queue) => queue != 0;

    public override Request Make(Random random, int queue) => queue switch
    {
        0 => new Request([], random.Next(4) == 0 ? random.Next(5000) : 1526),
        1 => new Request(Mutate(random, [.. Header(random), .. Frame(random)]), 0),
        _ => new Request(Mutate(random, Command(random)), 1),
    };

    public override string Judge(int queue, byte[] reply, uint written) => queue switch
    {
        0 => "received",
        1 => "sent",
        _ => reply[0] == 0 ? "ok" : "error",
    };

    public override void Outside(Random random)
    {
        for (int frames = random.Next(3); frames > 0 && _wire.ToGuest.Count < MostFrames; frames--)
        {
            _wire.ToGuest.Enqueue((Frame(random), default));
        }

        _wire.Arrived?.Invoke();
    }

    public override void Work(Driver driver, Random random)
    {
        byte[] frame = [.. s_mac, 2, 0, 0, 0, 0, 8, 8, 0, .. new byte[random.Next(46, 1500)]];
        random.NextBytes(frame.AsSpan(14));
        driver.Ask(1, [.. new byte[12], .. frame], 0);
        Assert.Equal(frame, _wire.LastSent);
        Assert.True(driver.TrySubmit(0, new Request([], 1526)));
        _wire.ToGuest.Enqueue((frame, default));
        _wire.Arrived!();
        byte[] got = [];
        uint written = 0;
        Slot.WaitFor(() => driver.TryTake(0, out got, out written), "a frame");
        Assert.Equal([.. new byte[10], 1, 0, .. frame], got[..(int)written]);
    }

    /// <summary>What a driver puts before a frame: mostly nothing to do, or what makes sense.</summary>
    public static byte[] Header(Random random) => random.Next(4) switch
    {
        0 => [1, 0, 0, 0, 0, 0, (byte)random.Next(14, 60), 0, (byte)random.Next(20), 0, 0, 0],
        1 => [1, (byte)(random.Next(2) == 0 ? 1 : 4), 54, 0, (byte)random.Next(256), (byte)random.Next(6), 34, 0, 16, 0, 0, 0],
        _ => new byte[12],
    };

    /// <summary>A command for the receive filter or about what is left undone (virtio 1.2, 5.1.6.5).</summary>
    public static byte[] Command(Random random)
    {
        byte[] Addresses()
        {
            int count = random.Next(70);
            return [.. BitConverter.GetBytes(count), .. new byte[6 * count]];
        }

        return random.Next(4) switch
        {
            0 => [0, (byte)random.Next(7), (byte)random.Next(2)],
            1 => [1, 0, .. Addresses(), .. Addresses()],
            2 => [1, 1, .. s_mac],
            _ => [5, 0, .. BitConverter.GetBytes((ulong)random.Next(1 << 11))],
        };
    }

    private static byte[] Frame(Random random)
    {
        byte[] frame = new byte[random.Next(8) == 0 ? random.Next(INetwork.MaxFrameSize) : random.Next(14, 1514)];
        random.NextBytes(frame.AsSpan(0, Math.Min(frame.Length, 64)));
        if (random.Next(2) == 0 && frame.Length >= s_mac.Length)
        {
            s_mac.CopyTo(frame, 0);
        }

        return frame;
    }

    private sealed class Wire : INetwork
    {
        public ConcurrentQueue<(byte[] Frame, FrameOffload Offload)> ToGuest { get; } = [];

        public byte[] LastSent { get; private set; } = [];

        public int Mtu => 1500;

        public NetworkOffloads Offloads => NetworkOffloads.All;

        public NetworkOffloads GuestOffloads { get; set; }

        public Action? Arrived { get; set; }

        public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload) => LastSent = frame.ToArray();

        public void Flush()
        {
        }

        public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload)
        {
            bool any = ToGuest.TryPeek(out (byte[] Frame, FrameOffload Offload) first);
            frame = first.Frame;
            offload = first.Offload;
            return any;
        }

        public void Release() => ToGuest.TryDequeue(out _);

        public void Reset()
        {
            Thread.Sleep(0); // It may take a while.
            ToGuest.Clear();
        }

        public void Dispose()
        {
        }
    }
}
