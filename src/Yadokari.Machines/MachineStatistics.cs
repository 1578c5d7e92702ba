using System.Diagnostics;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core.Buses;
using Yadokari.Core.Engines;
using Yadokari.Machines.Vcpus;

namespace Yadokari.Machines;

/// <summary>Puts together what <c>--stats</c> shows of a machine.</summary>
internal static class MachineStatistics
{
    /// <summary>Rows in the order to show; devices without an access are left out.</summary>
    public static IReadOnlyList<(string Group, string Name, double Value, string Unit)> Of(
        BootReport boot, IVm vm, IEnumerable<VcpuThread> threads, IEnumerable<Bus> buses)
    {
        List<(string Group, string Name, double Value, string Unit)> rows = [];
        rows.Add(("boot", boot.Compression is null ? boot.Protocol : $"{boot.Protocol}, unpacking {boot.Compression}", boot.Unpacking.TotalMilliseconds, "ms"));
        rows.AddRange(vm.Statistics);
        foreach (VcpuThread thread in threads)
        {
            rows.Add(($"vcpu{thread.Vcpu.Id}", "halts", thread.Halts, ""));
            rows.Add(($"vcpu{thread.Vcpu.Id}", "halted", thread.Slept.TotalMilliseconds, "ms"));
        }

        foreach (Bus bus in buses)
        {
            foreach (BusStatistics device in bus.Statistics)
            {
                if (device.Reads + device.Writes == 0)
                {
                    continue;
                }

                rows.Add((bus.Name, $"{device.Name} reads", device.Reads, ""));
                rows.Add((bus.Name, $"{device.Name} writes", device.Writes, ""));
                rows.Add((bus.Name, $"{device.Name} time", device.Ticks * 1000.0 / Stopwatch.Frequency, "ms"));
            }
        }

        return rows;
    }
}
