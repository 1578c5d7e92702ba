using Xunit;
using Yadokari.X86.Segments;
using Yadokari.X86.State;

namespace Yadokari.X86.Tests;

public sealed class DescriptorTests
{
    [Fact]
    public void Linux_kernel_code_is_flat_64_bit_code()
    {
        var descriptor = new Descriptor(0x00AF9B000000FFFF);
        Assert.Equal(new SegmentState(0x10, 0, 0xFFFFFFFF, SegmentAttributes.Code64), descriptor.ToState(0x10));
        Assert.True(descriptor.IsCode && descriptor.IsLong && descriptor.IsPresent && !descriptor.IsBig && descriptor.Dpl == 0);
        Assert.Equal("code, execute/read, accessed", descriptor.TypeName(true));
    }

    [Fact]
    public void Byte_granular_limits_and_split_bases()
    {
        var descriptor = new Descriptor(0x12_4_5_F2_345678_9ABCul);
        Assert.Equal(0x12345678ul, descriptor.Base);
        Assert.Equal(0x59ABCu, descriptor.Limit);
        Assert.Equal(3, descriptor.Dpl);
        Assert.True(descriptor.IsWritable && descriptor.IsBig);
        Assert.Equal(descriptor, Descriptor.Segment(descriptor.Base, descriptor.Limit, descriptor.Attributes));
    }

    [Fact]
    public void A_64_bit_tss_has_a_64_bit_base()
    {
        Descriptor tss = Descriptor.Segment(0xFFFF_FE00_1234_5678, 0x206F, SegmentAttributes.Present | 9);
        Assert.Equal(0xFFFF_FE00_1234_5678, tss.Base);
        Assert.Equal(0x206Fu, tss.Limit);
        Assert.Equal(SystemType.BusyTss, tss.WithBusy(true).SystemType);
        Assert.Equal("64-bit TSS, available", tss.TypeName(true));
        Assert.False(tss.IsCodeOrData);
    }

    [Fact]
    public void An_interrupt_gate_names_its_target()
    {
        var gate = new Descriptor(0x8160_8E03_0010_0B40, 0xFFFF_FFFF);
        Assert.Equal((0xFFFF_FFFF_8160_0B40ul, (ushort)0x10, 3), (gate.GateOffset, gate.GateSelector, gate.GateStack));
        Assert.Equal(SystemType.InterruptGate, gate.SystemType);
    }

    [Fact]
    public void Error_codes_carry_the_table()
    {
        Assert.Equal(0x14u, Selector.ErrorCode(0x17));
        Assert.Equal(0x15u, Selector.ErrorCode(0x17, external: true));
        Assert.Equal((0x80u << 3) | 2, Selector.IdtErrorCode(0x80));
        Assert.True(Selector.IsNull(3) && !Selector.IsNull(4));
    }

    [Theory]
    [InlineData(Vector.GeneralProtection, Vector.StackFault, true)]
    [InlineData(Vector.PageFault, Vector.PageFault, true)]
    [InlineData(Vector.PageFault, Vector.InvalidTss, true)]
    [InlineData(Vector.GeneralProtection, Vector.PageFault, false)]
    [InlineData(Vector.Debug, Vector.GeneralProtection, false)]
    [InlineData((Vector)0x80, Vector.GeneralProtection, false)]
    public void Two_faults_may_make_a_double_fault(Vector first, Vector second, bool expected) =>
        Assert.Equal(expected, Vectors.MakesDoubleFault(first, second));

    [Fact]
    public void Error_codes_are_pushed_for_the_manuals_eight() =>
        Assert.Equal([8, 10, 11, 12, 13, 14, 17, 21], Enumerable.Range(0, 256).Where(v => Vectors.HasErrorCode((Vector)v)));
}
