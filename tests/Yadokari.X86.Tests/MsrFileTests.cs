using Xunit;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Msrs;

namespace Yadokari.X86.Tests;

public sealed class MsrFileTests
{
    private static MsrFile File(bool amd)
    {
        return new MsrFile(new CpuModel(new CpuidModel(Host, 3, new CpuidConfiguration(1, 1, 1))));

        CpuidResult Host(uint leaf, uint subleaf) => leaf == 0 ? new CpuidResult(0x10, amd ? 0x68747541u : 0x756E6547u, 0, 0) : new CpuidResult(0x28, 0, 0, 0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Pat_takes_every_memory_type_and_no_other(bool amd)
    {
        MsrFile file = File(amd);
        Assert.True(file.Read(MsrIndex.Pat, out ulong reset));
        Assert.Equal(0x0007040600070406ul, reset);
        Assert.True(file.Write(MsrIndex.Pat, 0x0407050600070106));
        Assert.False(file.Write(MsrIndex.Pat, 0x02));
        Assert.True(file.Read(MsrIndex.Pat, out ulong value));
        Assert.Equal(0x0407050600070106ul, value);
    }

    [Fact]
    public void Reserved_bits_constants_and_unknown_registers_fault()
    {
        MsrFile file = File(amd: true);
        Assert.False(file.Write(MsrIndex.MtrrDefType, 1 << 12));
        Assert.False(file.Write(MsrIndex.MtrrDefType, 0x807));
        Assert.False(file.Write(MsrIndex.MtrrPhysBase0 + 1, 1ul << 51));
        Assert.False(file.Write(MsrIndex.MtrrCap, 0));
        Assert.False(file.Read(0x1234_5678, out _));
        Assert.False(file.Write(0x1234_5678, 0));
        Assert.False(file.Read(MsrIndex.Lstar, out _));
        Assert.False(file.Read(MsrIndex.AmdPatchLoader, out _));
        Assert.True(file.Write(MsrIndex.AmdPatchLoader, 0x1000));
    }

    [Fact]
    public void Each_maker_has_its_own()
    {
        Assert.False(File(amd: true).Read(MsrIndex.ArchCapabilities, out _));
        Assert.True(File(amd: false).Read(MsrIndex.ArchCapabilities, out ulong capabilities));
        Assert.Equal(3ul, capabilities & 7);
        Assert.False(File(amd: false).Read(MsrIndex.AmdHwcr, out _));
        Assert.True(File(amd: true).Read(MsrIndex.AmdHwcr, out ulong hwcr));
        Assert.Equal(1ul << 24, hwcr);
    }

    // Software that looks for the four counters, which AMD's CPUID does not tell of, writes to one and reads it back: Linux to a counter
    // (arch/x86/events/core.c, check_hw_exists), FreeBSD to an event selector (hwpmc_amd.c).
    [Fact]
    public void Counters_that_do_not_count_keep_nothing()
    {
        MsrFile file = File(amd: true);
        for (uint i = 0; i < 4; i++)
        {
            Assert.True(file.Write(MsrIndex.AmdPerfEvtSel0 + i, 0x0053_0076));
            Assert.True(file.Write(MsrIndex.AmdPerfCtr0 + i, 0xFFFF_1234_5678));
            Assert.True(file.Read(MsrIndex.AmdPerfEvtSel0 + i, out ulong selector));
            Assert.True(file.Read(MsrIndex.AmdPerfCtr0 + i, out ulong counter));
            Assert.Equal((0ul, 0ul), (selector, counter));
        }

        Assert.False(File(amd: false).Read(MsrIndex.AmdPerfCtr0, out _));
    }

    [Fact]
    public void Stored_registers_are_saved_and_restored()
    {
        MsrFile first = File(amd: true);
        Assert.True(first.Write(MsrIndex.MtrrPhysBase0, 0xF000_0006));
        Dictionary<uint, ulong> saved = [];
        first.Save(saved);
        MsrFile second = File(amd: true);
        second.Load(saved);
        Assert.True(second.Read(MsrIndex.MtrrPhysBase0, out ulong value));
        Assert.Equal(0xF000_0006ul, value);
        second.Reset();
        Assert.True(second.Read(MsrIndex.MtrrPhysBase0, out value));
        Assert.Equal(0ul, value);
    }

    [Fact]
    public void No_index_stands_twice_for_one_maker()
    {
        foreach (CpuVendor vendor in Enum.GetValues<CpuVendor>())
        {
            uint[] indices = [.. MsrTable.For(vendor).Select(e => e.Index)];
            Assert.Equal(indices.Distinct(), indices);
        }
    }
}
