using Yadokari.X86;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>Virtual-8086 mode with CR4.VME, and CR4.PVI: SDM 3A 21.3 and 21.4.</summary>
public sealed class VirtualModeTests
{
    private const ulong If = 1 << 9, Tf = 1 << 8, Vm = 1 << 17, Vif = 1 << 19, Vip = 1 << 20, Iopl3 = 3 << 12, Ac = 1 << 18;
    private const ulong Stack = 0x3_0000;

    [Fact]
    public void Cli_and_sti_change_the_programs_own_flag()
    {
        using EmulationMachine m = Virtual(Cr4.VME, If);
        m.Run(0xFB);
        Assert.Equal(If | Vif, m.Cpu.Rflags & (If | Vif));
        m.Run(0xFA);
        Assert.Equal(If, m.Cpu.Rflags & (If | Vif));
    }

    [Theory]
    [InlineData(0ul, 0ul)]
    [InlineData(Cr4.VME, Vip)]
    public void Sti_is_refused_without_vme_and_while_an_interrupt_waits(ulong cr4, ulong flags)
    {
        using EmulationMachine m = Virtual(cr4, flags);
        Assert.Equal(Vcpu.Outcome.Fault, m.Run(0xFB));
        Assert.Equal(13, m.Cpu.RaisedVector);
    }

    [Fact]
    public void Pushf_shows_the_programs_own_flag_and_popf_sets_it()
    {
        using EmulationMachine m = Virtual(Cr4.VME, Vif);
        m.Run(0x9C);
        Assert.Equal((ushort)(If | Iopl3 | 2), (ushort)m[Stack + 0xFE]);

        m.Bytes(Stack + 0xFE, 2)[1] = 0;
        m.Run(0x9D);
        Assert.Equal(0ul, m.Cpu.Rflags & (If | Vif | Iopl3));
        Assert.Equal(0x100ul, m.Cpu.Rsp & 0xFFFF);
    }

    [Fact]
    public void Popf_with_the_trap_flag_is_the_monitors()
    {
        using EmulationMachine m = Virtual(Cr4.VME, 0);
        m.Bytes(Stack + 0x100, 2)[1] = (byte)(Tf >> 8);
        Assert.Equal(Vcpu.Outcome.Fault, m.Run(0x9D));
        Assert.Equal(13, m.Cpu.RaisedVector);
        Assert.Equal(0x100ul, m.Cpu.Rsp & 0xFFFF);
    }

    [Fact]
    public void An_interrupt_whose_bit_is_clear_goes_to_the_programs_own_handler()
    {
        using EmulationMachine m = Virtual(Cr4.VME, Vif);
        m[0x21 * 4] = 0x1234_5678;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xCD, 0x21));
        Assert.Equal((0x5678ul, (ushort)0x1234), (m.Cpu.Rip, m.Cpu.Segments[1].Selector));
        Assert.Equal(0x1234_0ul, m.Cpu.Segments[1].Base);
        Assert.Equal(Vm, m.Cpu.Rflags & (Vm | Vif));
        Assert.Equal((ushort)(If | Iopl3 | 2), (ushort)m[Stack + 0xFE]);
        Assert.Equal(0x2000, (ushort)m[Stack + 0xFC]);
        Assert.Equal(0x102, (ushort)m[Stack + 0xFA]);
    }

    [Theory]
    [InlineData(0x100ul, false)]
    [InlineData(0x101ul, true)]
    public void A_far_call_checks_the_stacks_alignment(ulong rsp, bool faults)
    {
        using EmulationMachine m = Virtual(Cr4.VME, Ac);
        m.Cpu.Cr0 |= Cr0.AM;
        m.Cpu.Rsp = rsp;
        Assert.Equal(faults ? Vcpu.Outcome.Fault : Vcpu.Outcome.Jumped, m.Run(0x9A, 0x00, 0x01, 0x00, 0x20));
        Assert.Equal(faults, m.Cpu.RaisedVector == 17);
    }

    [Fact]
    public void An_interrupt_whose_bit_is_set_is_the_monitors()
    {
        using EmulationMachine m = Virtual(Cr4.VME, 0);
        m.Bytes(EmulationMachine.Tss + 0x68 + (0x21 / 8), 1)[0] = 1 << (0x21 % 8);
        Assert.Equal(Vcpu.Outcome.Fault, m.Run(0xCD, 0x21));
        Assert.Equal(13, m.Cpu.RaisedVector);
    }

    [Fact]
    public void Programs_of_protected_mode_have_the_flag_by_pvi()
    {
        using var m = new EmulationMachine(32);
        m.Cpu.Cpl = 3;
        m.Cpu.Cr4 |= Cr4.PVI;
        m.Run(0xFB);
        Assert.Equal(Vif, m.Cpu.Rflags & (If | Vif));
        m.Run(0xFA);
        Assert.Equal(0ul, m.Cpu.Rflags & (If | Vif));
    }

    // A program at 2000:0100 with its stack at 3000:0100, IOPL 0; the TSS has a redirection bitmap of zeros below its I/O bitmap.
    private static EmulationMachine Virtual(ulong cr4, ulong flags)
    {
        var m = new EmulationMachine(32);
        m.Cpu.Segments.Tr = new SegmentState(0x38, EmulationMachine.Tss, 0x2000, 0x8B);
        m.Bytes(EmulationMachine.Tss, 0x100).Clear();
        m.Bytes(EmulationMachine.Tss + 102, 1)[0] = 0x88;
        m.Cpu.Cr4 |= cr4;
        m.Cpu.Rflags = Vm | flags | 2;
        m.Cpu.Cpl = 3;
        for (int i = 0; i < 6; i++)
        {
            ushort selector = i switch { 1 => 0x2000, 2 => 0x3000, _ => 0 };
            m.Cpu.SetSegment(i, new SegmentState(selector, (ulong)selector << 4, 0xFFFF, (ushort)(i == 1 ? 0xFB : 0xF3)));
        }

        m.Bits = 16;
        m.Cpu.Rip = 0x100;
        m.Cpu.Rsp = 0x100;
        return m;
    }
}
