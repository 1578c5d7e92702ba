using System.Text;
using Yadokari.Boards.Pc.Boot;

namespace Yadokari.Machines.Tests;

public sealed class MpTablesTests
{
    private const uint Gpa = 0xF_1230;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(32)]
    public void The_floating_pointer_leads_to_a_table_that_adds_up(int cpus)
    {
        byte[] tables = MpTables.Build(cpus, Gpa);

        Assert.Equal("_MP_", Encoding.ASCII.GetString(tables, 0, 4));
        Assert.Equal(Gpa + 16, BitConverter.ToUInt32(tables, 4));
        Assert.Equal((1, 4, 0, 0), (tables[8], tables[9], tables[11], tables[12])); // 16 bytes, version 1.4, a table, no IMCR.
        Assert.Equal(0, (byte)tables.AsSpan(0, 16).ToArray().Sum(b => b));
        byte[] table = tables[16..];
        Assert.Equal("PCMP", Encoding.ASCII.GetString(table, 0, 4));
        Assert.Equal(table.Length, BitConverter.ToUInt16(table, 4));
        Assert.Equal(4, table[6]);
        Assert.Equal(0, (byte)table.Sum(b => b));
        Assert.Equal(0xFEE0_0000, BitConverter.ToUInt32(table, 36));
        List<byte[]> entries = Entries(tables);
        Assert.Equal(BitConverter.ToUInt16(table, 34), entries.Count);
        Assert.Equal(entries.Select(e => e[0]).Order(), entries.Select(e => e[0]));
        Assert.True(PcLayout.MpTables + (ulong)tables.Length <= PcLayout.BiosHandlers);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(32)]
    public void Processors_and_the_io_apic_have_their_own_ids_and_the_first_boots(int cpus)
    {
        List<byte[]> entries = Entries(MpTables.Build(cpus, Gpa));
        byte[][] processors = [.. entries.Where(e => e[0] == 0)];
        Assert.Equal(Enumerable.Range(0, cpus), processors.Select(p => (int)p[1]));
        Assert.Equal(3, processors[0][3]);
        Assert.All(processors[1..], p => Assert.Equal(1, p[3]));
        byte[] ioApic = Assert.Single(entries, e => e[0] == 2);
        Assert.Equal((cpus, 1, 0xFEC0_0000), (ioApic[1], ioApic[3], BitConverter.ToUInt32(ioApic, 4)));
    }

    [Fact]
    public void Interrupts_are_wired_as_the_acpi_tables_say()
    {
        List<byte[]> entries = Entries(MpTables.Build(2, Gpa));
        Assert.Equal(["PCI   ", "ISA   "], entries.Where(e => e[0] == 1).OrderBy(e => e[1]).Select(e => Encoding.ASCII.GetString(e, 2, 6)));
        byte[][] interrupts = [.. entries.Where(e => e[0] == 3)];
        Assert.All(interrupts, e => Assert.Equal((0, 2), (e[1], e[6])));
        Dictionary<int, byte[]> isa = interrupts.Where(e => e[4] == 1).ToDictionary(e => (int)e[5]);
        Assert.Equal(Enumerable.Range(0, 16).Except([2]), isa.Keys.Order());
        Assert.All(isa, e => Assert.Equal(e.Key == 0 ? 2 : e.Key, e.Value[7]));
        Assert.All(isa, e => Assert.Equal(e.Key == 9 ? 0xD : 0, e.Value[2]));
        byte[][] pci = [.. interrupts.Where(e => e[4] == 0)];
        Assert.Equal(Enumerable.Range(1, 31).Select(slot => slot << 2), pci.Select(e => (int)e[5]));
        Assert.All(pci, e => Assert.Equal(16 + ((e[5] >> 2) % 4), e[7]));
        Assert.Equal([(3, 0, 0), (1, 0xFF, 1)], entries.Where(e => e[0] == 4).Select(e => ((int)e[1], (int)e[6], (int)e[7])));
    }

    private static List<byte[]> Entries(byte[] tables)
    {
        List<byte[]> entries = [];
        for (int at = 16 + 44; at < tables.Length; at += entries[^1].Length)
        {
            entries.Add(tables[at..(at + (tables[at] == 0 ? 20 : 8))]);
        }

        return entries;
    }
}
