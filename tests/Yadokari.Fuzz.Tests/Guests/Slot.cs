using System.Diagnostics;
using Yadokari.Core.Buses;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Virtio;

namespace Yadokari.Fuzz.Tests.Guests;

/// <summary>A device behind its transport in a machine without processors: what guests reach it by.</summary>
internal sealed class Slot : IDisposable
{
    // Groups of registers in the device's range.
    public const ulong Common = 0;
    public const ulong DeviceConfig = 0x2000;
    public const ulong Notify = 0x3000;
    public const ulong Msix = 0x4000;

    public const byte FeaturesOk = 8;
    public const byte NeedsReset = 0x40;

    private const ulong Place = 2 << 15;
    private const ulong Command = 4;
    private const ulong Bar = 0x10;
    private static readonly TimeSpan s_longest = TimeSpan.FromMinutes(1);

    private readonly PciHost _host;
    private readonly VirtioPci _function;
    private readonly byte[] _bar = new byte[8];
    private readonly ulong _msix;

    public Slot(VirtioDevice device, GuardedMemory ram)
    {
        (Device, Ram) = (device, ram);
        var windows = new PciWindows((0xC000, 0x4000), (0xD000_0000, 0x1000_0000), (1ul << 36, 1ul << 36));
        _host = new PciHost(new Bus("pio"), Bus, windows, [.. Enumerable.Repeat(((IInterruptLine)new Line(), (byte)10), PciHost.Wires)]);
        _function = new VirtioPci(device, ram.Dma, (_, _) => { }, packed: true);
        _host.Add(2, _function);
        _host.Assign();
        _host.Ecam.Read(Place + Bar, _bar);
        Base = BitConverter.ToUInt64(_bar) & ~15ul;
        byte[] at = [0, 0];
        for (_host.Ecam.Read(Place + 0x34, at.AsSpan(1)); at[0] != 0x11; _host.Ecam.Read(Place + at[1], at))
        {
            _msix = at[1];
        }
    }

    public VirtioDevice Device { get; }

    public GuardedMemory Ram { get; }

    public Bus Bus { get; } = new("mmio");

    /// <summary>Where its registers are, unless a guest moved them.</summary>
    public ulong Base { get; }

    public byte Status
    {
        get => Read(20);
        set => Write(20, [value]);
    }

    /// <summary>Whatever a guest did before, afterwards the device can be begun with.</summary>
    public void Reset()
    {
        WriteSpace(Bar, _bar);
        WriteSpace(Command, [7, 0]);
        WriteSpace(_msix + 2, [0, 0]);
        Status = 0;
        WaitFor(() => Status == 0, "a reset");
        Ram.Check();
    }

    /// <summary>Agrees on features. False if the device does not.</summary>
    public bool Begin(ulong features)
    {
        Status = 1;
        Status = 3;
        Write(8, BitConverter.GetBytes(0));
        Write(12, BitConverter.GetBytes((uint)features));
        Write(8, BitConverter.GetBytes(1));
        Write(12, BitConverter.GetBytes((uint)(features >> 32)));
        Status = 11;
        return (Status & FeaturesOk) != 0;
    }

    /// <summary>Says where a queue is, and enables it.</summary>
    public void Enable(int queue, int size, QueueAddresses at)
    {
        Write(22, BitConverter.GetBytes((ushort)queue));
        Write(24, BitConverter.GetBytes((ushort)size));
        Write(32, BitConverter.GetBytes(at.Descriptors));
        Write(40, BitConverter.GetBytes(at.Driver));
        Write(48, BitConverter.GetBytes(at.Device));
        Write(28, [1, 0]);
    }

    public void Kick(int queue) => Write(Notify + (4 * (ulong)queue), [(byte)queue, 0]);

    public byte Read(ulong offset)
    {
        byte[] data = [0];
        Bus.Read(Base + offset, data);
        return data[0];
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data) => Bus.Write(Base + offset, data);

    public void WriteSpace(ulong offset, ReadOnlySpan<byte> data) => _host.Ecam.Write(Place + offset, data);

    public void ReadSpace(ulong offset, Span<byte> data) => _host.Ecam.Read(Place + offset, data);

    public static void WaitFor(Func<bool> what, string name)
    {
        long start = Stopwatch.GetTimestamp();
        for (var wait = new SpinWait(); !what(); wait.SpinOnce(sleep1Threshold: 100))
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < s_longest, $"There is nothing of {name} after {s_longest}.");
        }
    }

    public void Dispose() => _function.Dispose();

    private sealed class Line : IInterruptLine
    {
        public void Set(bool asserted)
        {
        }
    }
}
