using System.Diagnostics;

namespace Yadokari.Core.Buses;

/// <summary>What one device has cost: counted by the bus, shown by <c>--stats</c>.</summary>
public sealed class BusStatistics(string name)
{
    /// <summary>The device's name as it was mapped.</summary>
    public string Name { get; } = name;

    /// <summary>Accesses that read.</summary>
    public long Reads { get; internal set; }

    /// <summary>Accesses that wrote.</summary>
    public long Writes { get; internal set; }

    /// <summary>Time in the device, in ticks of <see cref="Stopwatch"/>.</summary>
    public long Ticks { get; internal set; }
}

/// <summary>
/// An address space of devices: port I/O or memory-mapped I/O. Mapped when the machine is built, read by vCPU threads after that;
/// counters are approximate where several vCPUs race.
/// </summary>
public sealed class Bus(string name)
{
    private readonly record struct Mapping(ulong Start, ulong Length, IBusDevice Device, BusStatistics Statistics);

    // Addresses that nobody claims, the first of them by their own: what a guest looked for in vain.
    private const int MostUnclaimed = 32;

    private readonly Dictionary<ulong, BusStatistics> _unclaimed = [];
    private readonly BusStatistics _elsewhere = new("unclaimed elsewhere");
    private Mapping[] _mappings = [];

    /// <summary>"pio" or "mmio".</summary>
    public string Name { get; } = name;

    /// <summary>Counters of every device, and of accesses that nobody claimed.</summary>
    public IEnumerable<BusStatistics> Statistics
    {
        get
        {
            lock (_unclaimed)
            {
                return [.. _mappings.Select(m => m.Statistics).Distinct(), .. _unclaimed.OrderBy(u => u.Key).Select(u => u.Value), _elsewhere];
            }
        }
    }

    /// <summary>Gives a range of addresses to a device.</summary>
    /// <exception cref="ArgumentException">The range is empty or overlaps another.</exception>
    public void Map(ulong start, ulong length, string deviceName, IBusDevice device)
    {
        if (length == 0 || _mappings.Any(m => start < m.Start + m.Length && m.Start < start + length))
        {
            throw new ArgumentException($"{Name}: the range {start:x}+{length:x} of {deviceName} is empty or taken");
        }

        BusStatistics statistics = _mappings.FirstOrDefault(m => m.Statistics?.Name == deviceName).Statistics ?? new BusStatistics(deviceName);
        _mappings = [.. _mappings.Append(new Mapping(start, length, device, statistics)).OrderBy(m => m.Start)];
    }

    /// <summary>Reads; unclaimed addresses give all ones.</summary>
    public void Read(ulong address, Span<byte> data)
    {
        data.Fill(0xFF);
        long start = Stopwatch.GetTimestamp();
        if (Find(address) is { } mapping)
        {
            mapping.Device.Read(address - mapping.Start, data);
            mapping.Statistics.Reads++;
            mapping.Statistics.Ticks += Stopwatch.GetTimestamp() - start;
        }
        else
        {
            Unclaimed(address).Reads++;
        }
    }

    /// <summary>Writes; what nobody claims vanishes.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> data)
    {
        long start = Stopwatch.GetTimestamp();
        if (Find(address) is { } mapping)
        {
            mapping.Device.Write(address - mapping.Start, data);
            mapping.Statistics.Writes++;
            mapping.Statistics.Ticks += Stopwatch.GetTimestamp() - start;
        }
        else
        {
            Unclaimed(address).Writes++;
        }
    }

    private BusStatistics Unclaimed(ulong address)
    {
        lock (_unclaimed)
        {
            if (!_unclaimed.TryGetValue(address, out BusStatistics? statistics))
            {
                if (_unclaimed.Count == MostUnclaimed)
                {
                    return _elsewhere;
                }

                _unclaimed[address] = statistics = new BusStatistics($"unclaimed {address:x}");
            }

            return statistics;
        }
    }

    private Mapping? Find(ulong address)
    {
        Mapping[] mappings = _mappings;
        int low = 0;
        int high = mappings.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            if (address < mappings[middle].Start)
            {
                high = middle - 1;
            }
            else if (address - mappings[middle].Start >= mappings[middle].Length)
            {
                low = middle + 1;
            }
            else
            {
                return mappings[middle];
            }
        }

        return null;
    }
}
