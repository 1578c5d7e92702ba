using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>Segment limits and rights under translation: 32-bit protected code whose accesses its segments do not allow.</summary>
public sealed class SegmentLimitTests
{
    private const ulong Code = 0x5000;
    private const ulong Handlers = 0x6000;
    private const ushort Data = 0xC093;
    private const ushort ReadOnly = 0xC091;
    private const ushort ExpandDown = 0xC097;
    private const ushort ExecuteOnly = 0xC099;

    [Theory]
    [InlineData("A1FC0F0000F4", 3, 0xFFFu, Data, -1, "a dword at the end of DS")]
    [InlineData("A1FD0F0000F4", 3, 0xFFFu, Data, 13, "a dword that crosses the end of DS")]
    [InlineData("A300100000F4", 3, 0xFFFu, Data, 13, "a store after the end of DS")]
    [InlineData("36A300100000F4", 2, 0xFFFu, Data, 12, "the same in SS")]
    [InlineData("26A300100000F4", 0, 0xFFFu, Data, 13, "the same in ES")]
    [InlineData("64A300100000F4", 4, 0xFFFu, Data, 13, "the same in FS")]
    [InlineData("64A1FC0F0000F4", 4, 0xFFFu, Data, -1, "the end of FS")]
    [InlineData("A100100000F4", 3, uint.MaxValue, ReadOnly, -1, "a load from what can be read only")]
    [InlineData("A300100000F4", 3, uint.MaxValue, ReadOnly, 13, "a store to what can be read only")]
    [InlineData("A100100000F4", 3, 0xFFFu, ExpandDown, -1, "expand-down data above the limit")]
    [InlineData("A1FF0F0000F4", 3, 0xFFFu, ExpandDown, 13, "expand-down data at the limit")]
    [InlineData("C70500100000785634120F0B", 3, 0xFFFu, ExpandDown, 6, "a store there, and UD2 after it")]
    [InlineData("2EA300100000F4", 3, uint.MaxValue, Data, 13, "a store to code")]
    [InlineData("2EA100100000F4", 1, uint.MaxValue, ExecuteOnly | 0x4000, 13, "a load from code that can be executed only")]
    [InlineData("0FB3C8F4", 3, 0xFFFu, Data, -1, "no memory at all")]
    [InlineData("0FB30D00100000F4", 3, 0xFFFu, Data, 13, "a bit string after the end of DS")]
    [InlineData("660F6F0500100000F4", 3, 0xFFFu, Data, 13, "a vector after the end of DS")]
    [InlineData("A100100000F4", 3, 0u, (ushort)0, 13, "a null segment")]
    public void Accesses_keep_to_their_segments(string code, int segment, uint limit, ushort attributes, int vector, string what)
    {
        using var m = new EmulationMachine(32);
        m.Prepare(code, Handlers, 32);
        m.Cpu.Cr4 |= 0x200;
        m.Cpu.SetSegment(segment, new SegmentState((ushort)(attributes == 0 ? 0 : segment == 1 ? 0x18 : 0x10), 0, limit, attributes));
        ulong esp = m.Cpu.Rsp;
        InlineTests.RunToHalt(m);
        if (vector < 0)
        {
            Assert.True(m.Cpu.Rip < Handlers, $"{what}: halted at {m.Cpu.Rip:X}");
            return;
        }

        // The handler's HLT is one byte.
        Assert.Equal($"{what}: {vector}", $"{what}: {(long)m.Cpu.Rip - (long)Handlers - 1}");
        Assert.Equal(Code + (vector == 6 ? 10ul : 0), m[esp - 12] & uint.MaxValue);
    }

    [Theory]
    [InlineData("B878563412F4", 0x5003u, 0, "an instruction that crosses the limit")]
    [InlineData("B878563412F4", 0x5004u, 5, "one after it")]
    [InlineData("B878563412F4", 0x5005u, -1, "none")]
    [InlineData("90EB10", 0x5008u, 1, "a jump beyond it")]
    [InlineData("31C07410", 0x5008u, 2, "a jump on a condition that holds")]
    [InlineData("31C07510F4", 0x5008u, -1, "on one that does not")]
    public void Code_ends_with_its_segment(string code, uint limit, int at, string what)
    {
        using var m = new EmulationMachine(32);
        m.Prepare(code, Handlers, 32);
        m.Cpu.SetSegment(1, new SegmentState(0x18, 0, limit, 0x409B));
        ulong esp = m.Cpu.Rsp;
        InlineTests.RunToHalt(m);
        Assert.Equal($"{what}: {(at < 0 ? "" : "#GP")}", $"{what}: {(m.Cpu.Rip == Handlers + 14 ? "#GP" : "")}");
        if (at >= 0)
        {
            Assert.Equal(Code + (ulong)at, m[esp - 12] & uint.MaxValue);
        }
    }

    [Fact]
    public void Jumps_within_a_page_of_a_16_bit_segment_are_translated()
    {
        using var m = new EmulationMachine(16);
        m.Cpu.SetSegment(1, new SegmentState(0x1234, 0x12340, 0xFFFF, 0x9B));
        m.Cpu.Rip = 0x10;

        // mov cx, 1000; again: dec cx; jnz again; hlt
        Convert.FromHexString("B9E8034975FDF4").CopyTo(m.Bytes(0x12350, 7));
        InlineTests.RunToHalt(m);
        Assert.Equal((0x17ul, 0ul), (m.Cpu.Rip, m.Cpu.Rcx & 0xFFFF));
        Assert.Equal(0, m.Emulated("jne"));
    }

    [Fact]
    public void Jumps_of_a_16_bit_segment_wrap_around()
    {
        using var m = new EmulationMachine(16);
        m.Cpu.SetSegment(1, new SegmentState(0x1234, 0x12340, 0xFFFF, 0x9B));
        m.Cpu.Rip = 0;

        // jmp from the segment's first bytes to its last but one, in other pages; there hlt.
        Convert.FromHexString("EBFC").CopyTo(m.Bytes(0x12340, 2));
        m.Bytes(0x12340 + 0xFFFE, 1)[0] = 0xF4;
        InlineTests.RunToHalt(m);
        Assert.Equal(0xFFFFul, m.Cpu.Rip);
    }
}
