using Yadokari.Translation.Emulation;

namespace Yadokari.Translation.Tests;

public sealed class EmulationTransferTests
{
    [Fact]
    public void Exception_from_user_to_kernel_pushes_frame_on_task_stack_and_iret_returns()
    {
        using var m = new EmulationMachine(64);
        m.SetGate(13, 0xFFFF800000001000);
        m.ToUser();
        m.Cpu.Rsp = 0x8008;
        m.Cpu.Rflags = 0x202;
        Assert.Equal(Vcpu.Outcome.Jumped, InterruptDelivery.Deliver(m.Cpu, 13, 0x18, software: false));
        Assert.Equal(0xFFFF800000001000, m.Cpu.Rip);
        Assert.Equal(0, m.Cpu.Cpl);
        Assert.Equal(0x7000ul - 48, m.Cpu.Rsp);
        Assert.Equal([0x18, 0x5000, 0x2B, 0x10202, 0x8008, 0x23], Frame(m, 6));
        Assert.Equal(0, m.Cpu.Segments[2].Selector);
        Assert.Equal(2ul, m.Cpu.Rflags);

        m.Cpu.Rsp += 8;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0x48, 0xCF));
        Assert.Equal((0x5000ul, 0x8008ul, 3), (m.Cpu.Rip, m.Cpu.Rsp, m.Cpu.Cpl));
        Assert.Equal(0x10202ul, m.Cpu.Rflags); // RF, for the instruction to come.
        Assert.Equal((ushort)0x23, m.Cpu.Segments[2].Selector);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void A_null_selector_loses_its_level_on_the_way_out(int selector)
    {
        using var m = new EmulationMachine(64);
        m.ToUser();
        m.SetGate(13, 0xFFFF800000001000);
        Assert.Equal(Vcpu.Outcome.Jumped, InterruptDelivery.Deliver(m.Cpu, 13, 0, software: false));
        foreach (int index in (ReadOnlySpan<int>)[0, 3, 4, 5])
            m.Cpu.SetSegment(index, m.Cpu.Segments[index] with { Selector = (ushort)selector, Base = 0x1234, Attributes = 0 });
        m.Cpu.Rsp += 8;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0x48, 0xCF));
        Assert.Equal(3, m.Cpu.Cpl);
        foreach (int index in (ReadOnlySpan<int>)[0, 3, 4, 5])
            Assert.Equal(0, m.Cpu.Segments[index].Selector);
        Assert.Equal((0x1234ul, 0x1234ul), (m.Cpu.Segments[4].Base, m.Cpu.Segments[5].Base));
    }

    [Fact]
    public void Stack_table_and_alignment_apply_at_the_same_level()
    {
        using var m = new EmulationMachine(64);
        m.SetGate(2, 0x3000, type: 15, stack: 1);
        m[EmulationMachine.Tss + 36] = 0x6008;
        m.Cpu.Rflags = 0x202;
        Assert.Equal(Vcpu.Outcome.Jumped, InterruptDelivery.Deliver(m.Cpu, 2, null, software: false));
        Assert.Equal(0x6000ul - 40, m.Cpu.Rsp);
        Assert.Equal([0x5000, 8, 0x202, 0x8000, 0x10], Frame(m, 5));
        Assert.Equal(0x202ul, m.Cpu.Rflags);
    }

    [Fact]
    public void Faults_of_delivery_escalate_to_double_fault_and_shutdown()
    {
        using var m = new EmulationMachine(64);
        m.SetGate(8, 0x3000);

        // The gate of #PF is all zeros, which is #GP: contributory after a page fault.
        Assert.Equal(Vcpu.Outcome.Jumped, InterruptDelivery.Deliver(m.Cpu, 14, 2, software: false));
        Assert.Equal(0x3000ul, m.Cpu.Rip);
        Assert.Equal(0ul, m[m.Cpu.Rsp]);

        m.SetGate(8, 0x3000, selector: 0x50);
        Assert.Equal(Vcpu.Outcome.Shutdown, InterruptDelivery.Deliver(m.Cpu, 14, 2, software: false));
    }

    [Fact]
    public void Software_interrupt_needs_gate_of_its_level()
    {
        using var m = new EmulationMachine(64);
        m.SetGate(0x80, 0x3000);
        m.ToUser();
        m.Faults(Vector.GeneralProtection, 0x402, 0xCD, 0x80);
        m.SetGate(0x80, 0x3000, level: 3);
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xCD, 0x80));
        Assert.Equal(0x5002ul, m[m.Cpu.Rsp]);
    }

    [Fact]
    public void Syscall_and_sysret_round_trip()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Star = (0x0018ul << 48) | (0x0008ul << 32);
        m.Cpu.Lstar = 0xFFFF800000000000;
        m.Cpu.Fmask = 0x200;
        m.ToUser();
        m.Cpu.Rflags = 0x203;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0x0F, 0x05));
        Assert.Equal((0xFFFF800000000000, 0x5002ul, 0x203ul, 3ul), (m.Cpu.Rip, m.Cpu.Rcx, m.Cpu.Gpr(11), m.Cpu.Rflags));
        Assert.Equal((0, (ushort)8, (ushort)0x10), (m.Cpu.Cpl, m.Cpu.Segments[1].Selector, m.Cpu.Segments[2].Selector));
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0x48, 0x0F, 0x07));
        Assert.Equal((0x5002ul, 0x203ul, 3), (m.Cpu.Rip, m.Cpu.Rflags, m.Cpu.Cpl));
        Assert.Equal(((ushort)0x2B, (ushort)0x23), (m.Cpu.Segments[1].Selector, m.Cpu.Segments[2].Selector));
        Assert.True(m.Cpu.Code64);
    }

    [Fact]
    public void Far_return_goes_to_compatibility_mode_and_far_jump_comes_back()
    {
        using var m = new EmulationMachine(64);
        m[0x8000] = 0x6000;
        m[0x8008] = 0x18;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0x48, 0xCB));
        Assert.False(m.Cpu.Code64);
        Assert.Equal((0x6000ul, 0x8010ul), (m.Cpu.Rip, m.Cpu.Rsp));
        m.Bits = 32;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xEA, 0x00, 0x70, 0, 0, 0x08, 0));
        Assert.True(m.Cpu.Code64);
        Assert.Equal(0x7000ul, m.Cpu.Rip);
    }

    [Fact]
    public void Protected_mode_changes_stacks_and_returns()
    {
        using var m = new EmulationMachine(32);
        m.SetGate(0x21, 0x3000, selector: 0x18);
        m.ToUser(code64: false);
        m.Cpu.SetSegment(3, m.Cpu.Segments[2]);
        m.Cpu.Rflags = 0x202;
        Assert.Equal(Vcpu.Outcome.Jumped, InterruptDelivery.Deliver(m.Cpu, 0x21, null, software: false));
        Assert.Equal((0x3000ul, 0x7000ul - 20, 0), (m.Cpu.Rip, m.Cpu.Rsp, m.Cpu.Cpl));
        Assert.Equal(0x33_00005000ul, m[m.Cpu.Rsp]);
        Assert.Equal(0x8000_00000202ul, m[m.Cpu.Rsp + 8]);
        Assert.Equal(0x23u, (uint)m[m.Cpu.Rsp + 16]);
        m.Cpu.SetSegment(3, m.Cpu.Segments[2]);
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xCF));
        Assert.Equal((0x5000ul, 0x8000ul, 3, 0x202ul), (m.Cpu.Rip, m.Cpu.Rsp, m.Cpu.Cpl, m.Cpu.Rflags));

        // DS held a segment of level 0, which level 3 must not keep.
        Assert.Equal(0, m.Cpu.Segments[3].Selector);
    }

    [Fact]
    public void Real_mode_interrupt_and_return()
    {
        using var m = new EmulationMachine(16);
        m[0x10 * 4] = 0x2000_0100;
        m.Cpu.Rflags = 0x202;
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xCD, 0x10));
        Assert.Equal((0x100ul, (ushort)0x2000, 0x20000ul, 0x7FFAul), (m.Cpu.Rip, m.Cpu.Segments[1].Selector, m.Cpu.Segments[1].Base, m.Cpu.Rsp));
        Assert.Equal(2ul, m.Cpu.Rflags);
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xCF));
        Assert.Equal((0x5002ul, (ushort)0, 0x8000ul, 0x202ul), (m.Cpu.Rip, m.Cpu.Segments[1].Selector, m.Cpu.Rsp, m.Cpu.Rflags));
    }

    [Fact]
    public void Paging_with_lme_enters_and_leaves_long_mode()
    {
        using var m = new EmulationMachine(32);
        m.Cpu.Efer = 0x100;
        m.Cpu.Cr3 = EmulationMachine.PageTables;
        m.Cpu.Rax = 0x80000033;
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x22, 0xC0);
        m.Cpu.Cr4 = 0x20;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x22, 0xC0));
        Assert.Equal(0x500ul, m.Cpu.Efer);
        m.Cpu.Rax = 0x33;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x22, 0xC0));
        Assert.Equal(0x100ul, m.Cpu.Efer);
    }

    private static ulong[] Frame(EmulationMachine m, int count)
        => [.. Enumerable.Range(0, count).Select(i => m[m.Cpu.Rsp + ((ulong)i * 8)])];
}
