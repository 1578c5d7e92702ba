using Yadokari.Core.Memory;

namespace Yadokari.Linux;

/// <summary>RAM of guests: one memory file, mapped in one piece.</summary>
public static class GuestRam
{
    /// <summary>Makes guest memory; no page costs anything before the guest touches it.</summary>
    /// <param name="regions">Where the guest sees it; addresses and lengths are multiples of 4096.</param>
    /// <exception cref="Core.UserErrorException">The host can't give that much.</exception>
    public static GuestMemory Create(IEnumerable<(ulong Gpa, ulong Length)> regions)
    {
        (ulong Gpa, ulong Length)[] wanted = [.. regions];
        long total = wanted.Sum(r => (long)r.Length);
        var file = new MemoryFile("yadokari-ram", total);
        nint host;
        try
        {
            host = file.Map(0, total, executable: false);
        }
        catch
        {
            file.Dispose();
            throw;
        }

        var placed = new List<MemoryRegion>();
        foreach ((ulong gpa, ulong length) in wanted)
        {
            placed.Add(new MemoryRegion(gpa, length, host));
            host += (nint)length;
        }

        return new GuestMemory(placed, file);
    }

    /// <summary>The file behind guest memory made here, to map pieces of it elsewhere; null for memory of another kind.</summary>
    public static MemoryFile? FileOf(GuestMemory memory) => memory.Backing as MemoryFile;
}
