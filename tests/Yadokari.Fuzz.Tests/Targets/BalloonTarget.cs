using System.Runtime.InteropServices;
using Yadokari.Devices.Virtio;
using Yadokari.Fuzz.Tests.Guests;

namespace Yadokari.Fuzz.Tests.Targets;

/// <summary>Memory that goes back to the host: but for the pages that a guest names, and that are its own, none does.</summary>
internal sealed class BalloonTarget : Target
{
    private const uint LastLow = (uint)(GuardedMemory.LowSize >> 12) - 1; // No queue lies there.
    private const uint FirstFree = (uint)(GuardedMemory.HighStart >> 12); // Where buffers would lie that wait; none do here.
    private const int FreePages = (int)(GuardedMemory.HighSize >> 13);
    private const uint FirstInUse = FirstFree + FreePages;
    private const uint LastHigh = FirstInUse + FreePages - 1;

    private readonly VirtioBalloon _balloon = new();

    public override VirtioDevice Device => _balloon;

    public override Request Make(Random random, int queue)
    {
        if (queue == 2)
        {
            return new Request([], random.Next(20_000));
        }

        byte[] numbers = Mutate(random, [.. Enumerable.Range(0, random.Next(300)).SelectMany(_ => BitConverter.GetBytes(random.Next(8) == 0 ? random.Next() : PageOfBuffers(random)))]);

        // A driver that keeps the rules does not give away what its queues and requests lie in.
        Span<uint> pages = MemoryMarshal.Cast<byte, uint>(numbers.AsSpan());
        foreach (ref uint page in pages)
        {
            page = page <= LastLow || (page >= FirstInUse && page <= LastHigh) ? FirstFree + (page % FreePages) : page;
        }

        return new Request(numbers, 0);
    }

    public override void Outside(Random random)
    {
        if (random.Next(4) == 0)
        {
            _balloon.Target = (long)random.Next(1000) << 12;
        }
    }

    public override void Work(Driver driver, Random random)
    {
        GuardedMemory ram = driver.Ram;
        byte[] byteOfPage = [1];
        ram.Memory.Write((ulong)LastLow << 12, byteOfPage);
        driver.Ask(0, BitConverter.GetBytes(LastLow), 0);
        ram.Memory.Read((ulong)LastLow << 12, byteOfPage);
        Assert.Equal([0], byteOfPage);
    }

    private static int PageOfBuffers(Random random) => (int)FirstFree + random.Next(2 * FreePages);
}
