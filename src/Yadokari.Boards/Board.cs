using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Memory;

namespace Yadokari.Boards;

/// <summary>Ports of a device's.</summary>
/// <param name="First">The first.</param>
/// <param name="Count">How many.</param>
/// <param name="Registers">What answers there.</param>
public readonly record struct PortRange(ushort First, ushort Count, IBusDevice Registers);

/// <summary>The buses of a machine: two address spaces, guest memory for DMA, and the tree of devices by which all are reset, paused and disposed of.</summary>
/// <param name="dma">Guest memory, as bus masters reach it.</param>
/// <param name="pio">Ports.</param>
/// <param name="mmio">The memory-mapped I/O address space.</param>
public sealed class Board(Dma dma, Bus pio, Bus mmio) : IDisposable
{
    /// <summary>Guest memory.</summary>
    public Dma Dma => dma;

    /// <summary>Ports.</summary>
    public Bus Pio => pio;

    /// <summary>The memory-mapped I/O address space.</summary>
    public Bus Mmio => mmio;

    /// <summary>The devices.</summary>
    public DeviceTree Devices { get; } = [];

    /// <summary>Takes ownership of a device without address ranges of its own, or behind another bus.</summary>
    public T Add<T>(T device)
        where T : IDevice => Devices.Add(device);

    /// <summary>Takes ownership of a device, and maps its registers at ranges of ports.</summary>
    /// <exception cref="ArgumentException">One belongs to another device.</exception>
    public T AddPorts<T>(T device, params ReadOnlySpan<PortRange> ranges)
        where T : IDevice
    {
        Devices.Add(device);
        foreach (PortRange range in ranges)
        {
            pio.Map(range.First, range.Count, device.Name, range.Registers);
        }

        return device;
    }

    /// <summary>The same for a device that answers at one range itself.</summary>
    /// <exception cref="ArgumentException">It belongs to another device.</exception>
    public T AddPorts<T>(T device, ushort first, ushort count)
        where T : IDevice, IBusDevice => AddPorts(device, new PortRange(first, count, device));

    /// <summary>Takes ownership of a device, and maps it at a range of memory.</summary>
    public T AddMemory<T>(T device, ulong start, ulong length)
        where T : IDevice, IBusDevice
    {
        Devices.Add(device);
        mmio.Map(start, length, device.Name, device);
        return device;
    }

    /// <inheritdoc/>
    public void Dispose() => Devices.Dispose();
}
