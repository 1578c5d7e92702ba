using Yadokari.Core.Buses;

namespace Yadokari.Devices.Pci;

/// <summary>What a base address register claims (PCI Local Bus 3.0, 6.2.5.1).</summary>
public enum PciBarKind
{
    /// <summary>Ports.</summary>
    Ports,

    /// <summary>Memory, with a 32-bit address.</summary>
    Memory32,

    /// <summary>Memory, with a 64-bit address: takes two registers.</summary>
    Memory64,
}

/// <summary>A base address register: a range of addresses whose place the guest chooses, and the devices' registers in it.</summary>
public sealed class PciBar
{
    private readonly record struct Region(ulong Offset, ulong Length, string Name, IBusDevice Device);

    private readonly List<Region> _regions = [];

    internal PciBar(int index, PciBarKind kind, ulong size)
    {
        Index = index;
        Kind = kind;
        Size = size;
    }

    /// <summary>Its number, from 0 to 5.</summary>
    public int Index { get; }

    /// <summary>What it claims.</summary>
    public PciBarKind Kind { get; }

    /// <summary>Bytes, a power of two.</summary>
    public ulong Size { get; }

    /// <summary>Where it is mapped, or null. Under the host's lock.</summary>
    internal ulong? MappedAt { get; private set; }

    /// <summary>Puts registers into the range. When the machine is built; regions must not overlap.</summary>
    /// <param name="offset">From the start of the range.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="name">Their name in statistics.</param>
    /// <param name="device">The registers.</param>
    public void Add(ulong offset, ulong length, string name, IBusDevice device) => _regions.Add(new Region(offset, length, name, device));

    /// <summary>Maps the range on a bus. Does nothing if it overlaps another device's.</summary>
    internal void Map(Bus bus, ulong start)
    {
        for (int i = 0; i < _regions.Count; i++)
        {
            Region region = _regions[i];
            if (!bus.TryMap(start + region.Offset, region.Length, region.Name, region.Device))
            {
                Unmap(bus, start, i);
                return;
            }
        }

        MappedAt = start;
    }

    /// <summary>Unmaps the range.</summary>
    internal void Unmap(Bus bus)
    {
        if (MappedAt is { } start)
        {
            Unmap(bus, start, _regions.Count);
            MappedAt = null;
        }
    }

    private void Unmap(Bus bus, ulong start, int count)
    {
        foreach (Region region in _regions.Take(count))
        {
            bus.Unmap(start + region.Offset);
        }
    }
}
