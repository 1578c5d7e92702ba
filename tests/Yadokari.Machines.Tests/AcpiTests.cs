using System.Diagnostics;
using System.Text;
using Yadokari.Boards.Pc.Acpi;
using Yadokari.Core.Memory;

namespace Yadokari.Machines.Tests;

public sealed class AcpiTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(32)]
    public void Tables_hang_together_and_add_up(int cpus)
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        Dictionary<string, byte[]> tables = Tables(memory, cpus);

        Assert.Equal(["APIC", "DSDT", "FACP", "FACS", "MCFG", "RSDT", "XSDT"], tables.Keys.Order());
        foreach ((string name, byte[] table) in tables)
        {
            Assert.True(name == "FACS" || Sum(table) == 0, name);
        }

        byte[] madt = tables["APIC"];
        int processors = 0;
        for (int i = 44; i < madt.Length; i += madt[i + 1])
        {
            Assert.True(madt[i + 1] >= 6);
            processors += madt[i] == 0 ? 1 : 0;
        }

        Assert.Equal(cpus, processors);
    }

    [Fact]
    public void The_root_pointer_is_where_a_scan_finds_it()
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        ulong rsdp = AcpiTables.Write(memory, Board(1, screen: false));
        Assert.InRange(rsdp, 0xE_0000UL, 0xF_FFFFUL);
        Assert.Equal(0UL, rsdp & 15);
        byte[] bytes = memory.Bytes(rsdp, 36);
        Assert.Equal("RSD PTR ", Encoding.ASCII.GetString(bytes, 0, 8));
        Assert.Equal(0, Sum(bytes.AsSpan(0, 20)));
        Assert.Equal(0, Sum(bytes));
    }

    [Fact]
    public void Both_lists_of_tables_name_the_same()
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        ulong rsdp = AcpiTables.Write(memory, Board(2, screen: false));
        ulong rsdt = memory.U32(rsdp + 16), xsdt = memory.U64(rsdp + 24);
        int count = ((int)memory.U32(xsdt + 4) - 36) / 8;
        Assert.Equal(36u + (4u * (uint)count), memory.U32(rsdt + 4));
        Assert.Equal(
            Enumerable.Range(0, count).Select(i => memory.U64(xsdt + 36 + (8 * (ulong)i))),
            Enumerable.Range(0, count).Select(i => (ulong)memory.U32(rsdt + 36 + (4 * (ulong)i))));
    }

    [Fact]
    public void The_wake_vector_structure_is_aligned_and_all_fits_below_1_MiB()
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        Dictionary<string, byte[]> tables = Tables(memory, 32);
        Assert.Equal(0u, BitConverter.ToUInt32(tables["FACP"], 36) & 63);
        Assert.True(tables.Values.Sum(t => t.Length) < 0x1_0000);
    }

    [Fact]
    public void Intels_compiler_reads_every_table()
    {
        string? iasl = new[] { Environment.GetEnvironmentVariable("YADOKARI_IASL") ?? "", "/usr/bin/iasl" }.FirstOrDefault(File.Exists);
        Assert.SkipWhen(iasl is null, "no iasl on this host (Debian package acpica-tools)");
        DirectoryInfo folder = Directory.CreateTempSubdirectory("acpi");
        try
        {
            using GuestMemory memory = TestMemory.OfMiB(16);
            foreach ((string name, byte[] table) in Tables(memory, 4))
            {
                string file = Path.Combine(folder.FullName, name + ".dat");
                File.WriteAllBytes(file, table);
                string output = Run(iasl, "-d", file);
                string text = File.ReadAllText(Path.ChangeExtension(file, ".dsl"));
                Assert.DoesNotContain("Error", output);
                Assert.DoesNotContain("Warning", output);
                Assert.DoesNotContain("**** ", text);
                if (name == "DSDT")
                {
                    Assert.Contains("Device (COM1)", text);
                    Assert.Contains("Device (PCI0)", text);
                    Assert.Contains("Device (KBD", text);
                    Assert.Contains("EisaId (\"PNP0200\")", text);
                    Assert.Contains("EisaId (\"PNP0700\")", text);
                    Assert.Contains("EisaId (\"PNP0501\")", text);
                    Assert.Contains("Name (\\_S5", text);
                    string compiled = Run(iasl, Path.ChangeExtension(file, ".dsl"));
                    Assert.Contains("0 Errors, 0 Warnings", compiled);
                }
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static AcpiBoard Board(int cpus, bool screen) => new(cpus, screen, PcLayout.PciWindows(16 << 20), Floppy: screen);

    private static Dictionary<string, byte[]> Tables(GuestMemory memory, int cpus)
    {
        ulong rsdp = AcpiTables.Write(memory, Board(cpus, screen: true));
        var tables = new Dictionary<string, byte[]>();
        byte[] Add(ulong gpa)
        {
            byte[] table = memory.Bytes(gpa, (int)memory.U32(gpa + 4));
            tables.Add(Encoding.ASCII.GetString(table, 0, 4), table);
            return table;
        }

        Add(memory.U32(rsdp + 16));
        byte[] xsdt = Add(memory.U64(rsdp + 24));
        for (int i = 36; i < xsdt.Length; i += 8)
        {
            byte[] table = Add(BitConverter.ToUInt64(xsdt, i));
            if (table[0] == 'F')
            {
                Add(BitConverter.ToUInt32(table, 36));
                Add(BitConverter.ToUInt64(table, 140));
            }
        }

        return tables;
    }

    private static string Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output + error.Result;
    }

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
        {
            sum += b;
        }

        return sum;
    }
}
