using System.Globalization;

namespace Yadokari.Linux;

/// <summary>The host's memory.</summary>
public static class HostMemory
{
    /// <summary>
    /// Bytes of memory available to this process: the host's (proc_meminfo(5), MemTotal), or the limit of its control group if that is less (cgroup v2,
    /// memory.max). Any thread; read once.
    /// </summary>
    public static ulong Available { get; } = Math.Min(Total(), Allowed());

    private static ulong Total()
    {
        const string field = "MemTotal:";
        string line = File.ReadLines("/proc/meminfo").First(l => l.StartsWith(field, StringComparison.Ordinal));
        return ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }

    private static ulong Allowed()
    {
        try
        {
            return ulong.TryParse(File.ReadAllText("/sys/fs/cgroup/memory.max"), NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out ulong limit)
                ? limit
                : ulong.MaxValue;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return ulong.MaxValue;
        }
    }
}
