using System.Globalization;
using Yadokari.Core;

namespace Yadokari.Host;

/// <summary>How much memory a guest gets, as <c>--memory</c> says it: a whole number with K, M, G or T.</summary>
public static class MemorySize
{
    /// <summary>The least that is worth trying.</summary>
    public const ulong Least = 16UL << 20;

    private const ulong LeastOfCpu = 2UL << 20;

    /// <summary>Reads a size in bytes.</summary>
    /// <param name="text">What was given.</param>
    /// <param name="host">The memory of the host in bytes.</param>
    /// <param name="option">What it was given to, for messages.</param>
    /// <param name="owner">Whose memory it is, for messages.</param>
    /// <exception cref="UserErrorException">Not a size, or one that can't be had.</exception>
    public static ulong Parse(string text, ulong host, string option = "--memory", string owner = "this host")
    {
        string number = text.Trim();
        string unit = "";
        int letters = number.AsSpan().IndexOfAnyExceptInRange('0', '9');
        if (letters >= 0)
        {
            unit = number[letters..].ToUpperInvariant();
            number = number[..letters];
        }

        int shift = unit switch
        {
            "K" or "KIB" => 10,
            "M" or "MIB" => 20,
            "G" or "GIB" => 30,
            "T" or "TIB" => 40,
            "" => 0,
            _ => -1,
        };

        if (shift < 0 || !ulong.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out ulong value))
        {
            throw new UserErrorException($"{option} {UserText.Shown(text)} is not a size: write a whole number with K, M or G, as in 512M.");
        }

        if (value != 0 && shift == 0)
        {
            throw new UserErrorException($"{option} {text} has no unit: write {text}M for mebibytes or {text}G for gibibytes.");
        }

        UInt128 bytes = (UInt128)value << shift;
        if (bytes > host)
        {
            throw new UserErrorException($"{option} {text} is more than {owner} has ({Show(host)}): give less, as in {option} 512M.");
        }

        if (bytes < Least)
        {
            throw new UserErrorException($"{option} {text} is too little for a guest: give at least {Show(Least)}, as in {option} 512M.");
        }

        return bytes % (1 << 20) == 0
            ? (ulong)bytes
            : throw new UserErrorException($"{option} {text} is not a whole number of mebibytes: give one, as in {option} {(ulong)(bytes >> 20)}M.");
    }

    /// <summary>A size as a person writes it.</summary>
    public static string Show(ulong bytes) => (bytes >> 20) switch
    {
        0 => $"{bytes} bytes",
        ulong mebibytes when mebibytes % 1024 == 0 => $"{mebibytes >> 10}G",
        ulong mebibytes => $"{mebibytes}M",
    };

    /// <summary>Looks whether a guest can come up.</summary>
    /// <param name="memory">The machine's, in bytes.</param>
    /// <param name="cpus">Its processors.</param>
    /// <param name="least">What the guest takes without what it takes for each processor.</param>
    /// <param name="guest">What the guest is, for messages.</param>
    /// <exception cref="UserErrorException">Its kernel would panic.</exception>
    public static void CheckEnough(ulong memory, int cpus, ulong least, string guest)
    {
        least += (ulong)cpus * LeastOfCpu;
        if (memory < least)
        {
            string processors = cpus == 1 ? "one processor" : $"{cpus} processors";
            throw new UserErrorException($"--memory {Show(memory)} is too little for {guest} on {processors}: give {Show(least)} or more.");
        }
    }

    /// <summary>What this host has in bytes, or what its control group allows if that is less.</summary>
    public static ulong OfHost()
    {
        ulong total = ulong.MaxValue;
        foreach (string line in File.ReadLines("/proc/meminfo"))
        {
            if (line.StartsWith("MemTotal:", StringComparison.Ordinal))
            {
                total = ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
                break;
            }
        }

        try
        {
            return ulong.TryParse(File.ReadAllText("/sys/fs/cgroup/memory.max"), NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out ulong limit)
                ? Math.Min(total, limit)
                : total;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return total;
        }
    }
}
