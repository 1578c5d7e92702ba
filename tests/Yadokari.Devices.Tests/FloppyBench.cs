using Yadokari.Core.Disks;
using Yadokari.Core.Memory;
using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Storage;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

/// <summary>A floppy in memory, whose sectors begin with their number.</summary>
internal sealed class FloppyImage : IDisk
{
    public FloppyImage(int length, bool readOnly = false)
    {
        Bytes = new byte[length];
        ReadOnly = readOnly;
        for (int i = 0; i < length; i += 4)
        {
            BitConverter.TryWriteBytes(Bytes.AsSpan(i), (i / 512) + 1);
        }
    }

    public byte[] Bytes { get; }

    public string Path => "memory";

    public long Length => Bytes.Length;

    public bool ReadOnly { get; }

    /// <summary>Whether the host's file system fails.</summary>
    public bool Fails { get; set; }

    public byte[] Sectors(int first, int count) => Bytes[(first * 512)..((first + count) * 512)];

    public bool TryRead(long offset, Span<byte> data)
    {
        Bytes.AsSpan((int)offset, data.Length).CopyTo(data);
        return !Fails;
    }

    public bool TryWrite(long offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(Bytes.AsSpan((int)offset));
        return !Fails;
    }

    public bool TryFlush() => true;

    public bool TryDiscard(long offset, long length) => true;

    public bool TryWriteZeroes(long offset, long length, bool mayDiscard) => true;

    public void Dispose()
    {
    }
}

/// <summary>A controller with one drive and its DMA, as a driver reaches them.</summary>
internal sealed class FloppyBench : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);

    public FloppyBench(int kibibytes = 1440, bool readOnly = false)
        : this(new FloppyImage(kibibytes << 10, readOnly))
    {
    }

    public FloppyBench(FloppyImage image)
    {
        Image = image;
        Dma = new IsaDmaController(new Dma(Memory, (_, _) => { }));
        Controller = new FloppyController(Irq, Dma.Channel(2), null, new FloppyDrive(image, FloppyFormat.Of(image.Length)!.Value));
    }

    public FloppyImage Image { get; }

    public GuestMemory Memory { get; } = GuestRam.Create([(0, 1 << 20)]);

    public Probe Irq { get; } = new();

    public IsaDmaController Dma { get; }

    public FloppyController Controller { get; }

    public byte Status => Controller.Registers.In(4);

    public void Dispose()
    {
        Controller.Dispose();
        Memory.Dispose();
    }

    /// <summary>Out of reset, polled, at the rate of high density.</summary>
    public void TurnOn(byte rate = 0)
    {
        Controller.Registers.Out(2, 0x1C);
        Await(() => Irq.Level);
        for (byte drive = 0; drive < 4; drive++)
        {
            Assert.Equal(0xC0 | drive, Ask(0x08)[0]);
        }

        Controller.Input.Out(0, rate);
        Send(0x03, 0xAF, 0x02);
    }

    public static void Await(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, s_limit));

    public void Send(params byte[] command)
    {
        foreach (byte value in command)
        {
            Await(() => (Status & 0xC0) == 0x80);
            Controller.Registers.Out(5, value);
        }
    }

    public byte[] Ask(params byte[] command)
    {
        Send(command);
        return Result();
    }

    public byte[] Result()
    {
        var result = new List<byte>();
        Await(() => (Status & 0xC0) == 0xC0);
        while ((Status & 0x50) == 0x50)
        {
            Assert.Equal(0xD0, Status & 0xF0);
            result.Add(Controller.Registers.In(5));
        }

        return [.. result];
    }

    /// <summary>Moves the heads and asks how that went.</summary>
    public byte[] Seek(byte cylinder)
    {
        Send(0x0F, 0, cylinder);
        return Ask(0x08);
    }

    /// <summary>Programs channel 2: from the device to memory, or the other way.</summary>
    public void Program(uint gpa, int count, bool toMemory, bool unmask = true)
    {
        Dma.First.Out(0xA, 4 | 2);
        Dma.First.Out(0xC, 0);
        Dma.First.Out(4, (byte)gpa);
        Dma.First.Out(4, (byte)(gpa >> 8));
        Dma.First.Out(5, (byte)(count - 1));
        Dma.First.Out(5, (byte)((count - 1) >> 8));
        Dma.First.Out(0xB, (byte)((toMemory ? 0x44 : 0x48) | 2));
        Dma.Pages.Out(0, (byte)(gpa >> 16));
        if (unmask)
        {
            Dma.First.Out(0xA, 2);
        }
    }

    public byte[] Bytes(ulong gpa, int length)
    {
        byte[] bytes = new byte[length];
        Memory.Read(gpa, bytes);
        return bytes;
    }
}
