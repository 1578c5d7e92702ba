using System.Diagnostics;

namespace Yadokari.Core.Buses;

/// <summary>Access counters of a device, shown by <c>--stats</c>.</summary>
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
/// An address space of devices: port I/O or memory-mapped I/O. Any thread may map and access; an access finds what was mapped when it
/// began. Counters are approximate where several vCPUs race.
/// </summary>
public sealed class Bus(string name)
{
    private readonly record struct Mapping(ulong Start, ulong Length, IBusDevice Device, BusStatistics Statistics);

    // Accesses to unmapped addresses; the first addresses have counters of their own: what a guest probed for in vain.
    private const int MaxUnclaimed = 32;

    private readonly Dictionary<ulong, BusStatistics> _unclaimed = [];
    private readonly BusStatistics _otherUnclaimed = new("unclaimed elsewhere");
    private readonly Lock _mapping = new(); // Innermost: guards the list of names, and replacement of the mappings.
    private readonly List<BusStatistics> _devices = [];
    private Mapping[] _mappings = []; // Copy-on-write, under _mapping.

    /// <summary>"pio" or "mmio".</summary>
    public string Name { get; } = name;

    /// <summary>Counters of every device, and of accesses to unmapped addresses.</summary>
    public IEnumerable<BusStatistics> Statistics
    {
        get
        {
            lock (_mapping)
            {
                lock (_unclaimed)
                {
                    return [.. _mappings.Select(m => m.Statistics).Union(_devices), .. _unclaimed.OrderBy(u => u.Key).Select(u => u.Value), _otherUnclaimed];
                }
            }
        }
    }

    /// <summary>Maps a device at a range of addresses.</summary>
    /// <exception cref="ArgumentException">The range is empty or overlaps another.</exception>
    public void Map(ulong start, ulong length, string deviceName, IBusDevice device)
    {
        if (!TryMap(start, length, deviceName, device))
        {
            throw new ArgumentException($"{Name}: the range {start:x}+{length:x} of {deviceName} is empty or taken");
        }
    }

    /// <summary>Maps a device at a range of addresses. False, and nothing is mapped, if the range is empty, wraps around or overlaps another.</summary>
    public bool TryMap(ulong start, ulong length, string deviceName, IBusDevice device)
    {
        lock (_mapping)
        {
            if (length == 0 || start + length < start || _mappings.Any(m => start < m.Start + m.Length && m.Start < start + length))
            {
                return false;
            }

            BusStatistics? statistics = _devices.Find(d => d.Name == deviceName);
            if (statistics is null)
            {
                _devices.Add(statistics = new BusStatistics(deviceName));
            }

            Volatile.Write(ref _mappings, [.. _mappings.Append(new Mapping(start, length, device, statistics)).OrderBy(m => m.Start)]);
            return true;
        }
    }

    /// <summary>Unmaps the range that starts at <paramref name="start"/>. Accesses in flight still reach the device.</summary>
    public void Unmap(ulong start)
    {
        lock (_mapping)
        {
            Volatile.Write(ref _mappings, [.. _mappings.Where(m => m.Start != start)]);
        }
    }

    /// <summary>Reads; unmapped addresses read as all ones.</summary>
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

    /// <summary>Writes; writes to unmapped addresses are ignored.</summary>
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
                if (_unclaimed.Count == MaxUnclaimed)
                {
                    return _otherUnclaimed;
                }

                _unclaimed[address] = statistics = new BusStatistics($"unclaimed {address:x}");
            }

            return statistics;
        }
    }

    private Mapping? Find(ulong address)
    {
        Mapping[] mappings = Volatile.Read(ref _mappings);
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
