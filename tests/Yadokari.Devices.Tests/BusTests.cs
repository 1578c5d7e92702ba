using Yadokari.Core.Buses;

namespace Yadokari.Devices.Tests;

public sealed class BusTests
{
    [Fact]
    public void What_nobody_claims_reads_as_ones_and_is_counted_by_its_address()
    {
        var bus = new Bus("pio");
        byte[] data = [0, 0];
        bus.Read(0xCF8, data);
        bus.Write(0xCF8, data);
        bus.Read(0x2E, data);
        Assert.Equal([0xFF, 0xFF], data);
        Assert.Equal(
            [("unclaimed 2e", 1, 0), ("unclaimed cf8", 1, 1)], bus.Statistics.Where(s => s.Reads + s.Writes > 0).Select(s => (s.Name, s.Reads, s.Writes)));
    }

    [Fact]
    public void A_guest_that_looks_everywhere_does_not_make_a_line_for_each_place()
    {
        var bus = new Bus("pio");
        byte[] data = [0];
        for (ulong port = 0; port < 0x10000; port++)
        {
            bus.Read(port, data);
        }

        Assert.True(bus.Statistics.Count() < 50);
        Assert.Equal(0x10000, bus.Statistics.Sum(s => s.Reads));
    }
}
