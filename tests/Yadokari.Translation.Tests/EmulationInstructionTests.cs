using Yadokari.Core.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

public sealed class EmulationInstructionTests
{
    [Fact]
    public void Pushf_and_popf_keep_what_the_level_may_not_change()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rflags = 0x202;
        m[0x8000] = ulong.MaxValue;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x9D));
        Assert.Equal(0x247FD7ul, m.Cpu.Rflags);
        m.ToUser();
        m.Cpu.Rflags = 0x202;
        m.Cpu.Rsp = 0x8000;
        m[0x8000] = 0x3000;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x9D));
        Assert.Equal(0x202ul, m.Cpu.Rflags);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x9C));
        Assert.Equal(0x202ul, m[0x8000]);
        m.Faults(Vector.GeneralProtection, 0, 0xFA);
        m.Faults(Vector.GeneralProtection, 0, 0xFB);
        m.Faults(Vector.GeneralProtection, 0, 0xF4);
    }

    [Fact]
    public void Sti_holds_interrupts_for_one_instruction()
    {
        using var m = new EmulationMachine(64);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xFB));
        Assert.True(m.Cpu.Events.InterruptShadow);
        m.Cpu.Events.InterruptShadow = false;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xFB));
        Assert.False(m.Cpu.Events.InterruptShadow);
    }

    [Fact]
    public void Segment_loads_check_and_mark_descriptors()
    {
        using var m = new EmulationMachine(64);
        m[EmulationMachine.Gdt + 0x20] &= ~(1ul << 40);
        m.Cpu.Rax = 0x23;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x8E, 0xD8));
        Assert.Equal(1ul, m[EmulationMachine.Gdt + 0x20] >> 40 & 1);
        m.Faults(Vector.GeneralProtection, 0x20, 0x8E, 0xD0);
        m.Cpu.Rax = 0x10;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x8E, 0xD0));
        Assert.True(m.Cpu.Events.InterruptShadow);
        m.Cpu.Rax = 0x50;
        m.Faults(Vector.GeneralProtection, 0x50, 0x8E, 0xD8);
        m[EmulationMachine.Gdt + 0x20] &= ~(1ul << 47);
        m.Cpu.Rax = 0x23;
        m.Faults(Vector.SegmentNotPresent, 0x20, 0x8E, 0xC0);
    }

    [Fact]
    public void Tables_load_and_store()
    {
        using var m = new EmulationMachine(64);
        m[EmulationMachine.Data] = 0xFFFF_8000_1234_0FFF;
        m[EmulationMachine.Data + 8] = 0xFFFF;
        m.Cpu.Rbx = EmulationMachine.Data;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x01, 0x1B));
        Assert.Equal((0xFFFFFFFF80001234, (ushort)0xFFF), (m.Cpu.Segments.Idtr.Base, m.Cpu.Segments.Idtr.Limit));
        m.Cpu.Rbx = EmulationMachine.Data + 0x100;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x01, 0x03));
        Assert.Equal(0x0000_0000_1000_0047ul, m[EmulationMachine.Data + 0x100]);
        m.Cpu.Rax = 0x38;
        m.Faults(Vector.GeneralProtection, 0x38, 0x0F, 0x00, 0xD8);
        m[EmulationMachine.Gdt + 0x38] &= ~(2ul << 40);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x00, 0xD8));
        Assert.Equal(2ul, m[EmulationMachine.Gdt + 0x38] >> 40 & 2);
        Assert.Equal(0x8Bu, m.Cpu.Segments.Tr.Attributes);
    }

    [Fact]
    public void Queries_answer_in_zero_flag()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rcx = 0x18;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x03, 0xC1));
        Assert.Equal((0xFFFFFFFFul, 0x40ul), (m.Cpu.Rax, m.Cpu.Rflags & 0x40));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x02, 0xC1));
        Assert.Equal(0xCF9B00ul, m.Cpu.Rax);
        m.Cpu.Rcx = 0x1000;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x02, 0xC1));
        Assert.Equal((0xCF9B00ul, 0ul), (m.Cpu.Rax, m.Cpu.Rflags & 0x40));
        m.Cpu.Rcx = 0x18;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x00, 0xE9));
        Assert.Equal(0ul, m.Cpu.Rflags & 0x40);
    }

    [Fact]
    public void Ports_ask_the_bitmap()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rdx = 0x3F8;
        m.Cpu.Rax = 0x11223344;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xEE));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xEF));
        Assert.Equal([((ushort)0x3F8, 0x44ul, 1), ((ushort)0x3F8, 0x11223344ul, 4)], m.PortWrites);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xEC));
        Assert.Equal(0x112233F8ul, m.Cpu.Rax);
        m.ToUser();
        m.Faults(Vector.GeneralProtection, 0, 0xEC);
        m.Cpu.Segments.Tr = m.Cpu.Segments.Tr with { Limit = 0x68 + 0x100 };
        m[EmulationMachine.Tss + 0x60] = 0x0068ul << 48;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xEC));
        m[EmulationMachine.Tss + 0x68 + 0x7F] = 4;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xEC));
        m.Faults(Vector.GeneralProtection, 0, 0xED);
    }

    [Fact]
    public void What_the_processor_does_not_have_is_refused_and_counted()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rcx = 0x12345;
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x32);
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x30);
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x32);
        Assert.Equal((2, 1), (m.Refused("rdmsr 12345"), m.Refused("wrmsr 12345")));

        // VMRESUME, and UD2, which is there to be refused.
        m.SetGate(6, 0x6000);
        m.Bytes(0x6000, 1)[0] = 0xF4;
        foreach ((ulong at, byte[] code) in (ReadOnlySpan<(ulong, byte[])>)[(0x5100, [0x0F, 0x01, 0xC3]), (0x5200, [0x0F, 0x0B])])
        {
            code.CopyTo(m.Bytes(at, code.Length));
            m.Cpu.Rip = at;
            m.Cpu.Rsp = 0x8000;
            m.Cpu.Rflags = 2;
            Assert.Equal(VmExit.HaltedWithInterruptsDisabled, m.Go());
            Assert.Equal(0x6001ul, m.Cpu.Rip);
        }

        Assert.Equal((1, 0), (m.Refused("vmresume"), m.Refused("ud2")));
    }

    [Fact]
    public void Msrs_reach_their_keepers()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rcx = 0xC0000101;
        m.Cpu.Rdx = 0xFFFF8000;
        m.Cpu.Rax = 0x1000;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x30));
        Assert.Equal(0xFFFF800000001000, m.Cpu.Segments[5].Base);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x01, 0xF8));
        Assert.Equal((0ul, 0xFFFF800000001000), (m.Cpu.Segments[5].Base, m.Cpu.KernelGsBase));
        m.Cpu.Rdx = 0x8000;
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x30);
        m.Cpu.Rcx = 0x802;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x32));
        Assert.Equal((0x802ul, 0ul), (m.Cpu.Rax, m.Cpu.Rdx));
        m.Cpu.Rcx = 0xC0000080;
        m.Cpu.Rax = 0x801;
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x30);
        m.Cpu.Rcx = 0xDEAD;
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0x32);
    }

    [Fact]
    public void Tsc_and_its_adjustment_move_together()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rcx = 0x10;
        m.Cpu.Rax = 0;
        m.Cpu.Rdx = 0x100;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x30));
        ulong adjust = m.Cpu.TscAdjust;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x31));
        Assert.Equal(0x100ul, m.Cpu.Rdx);
        m.Cpu.Rcx = 0x3B;
        m.Cpu.Rax = (uint)(adjust + 5);
        m.Cpu.Rdx = (adjust + 5) >> 32;
        ulong offset;
        unsafe
        {
            offset = m.Cpu.State->TscOffset;
        }

        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x30));
        unsafe
        {
            Assert.Equal(offset + 5, m.Cpu.State->TscOffset);
        }
    }

    [Theory]
    [InlineData(0x10, 0x1000)]
    [InlineData(0x3B, 0x1000)]
    public void The_machine_hears_of_a_tsc_that_the_guest_moved(ulong register, ulong value)
    {
        using var m = new EmulationMachine(64);
        (m.Cpu.Rcx, m.Cpu.Rdx, m.Cpu.Rax) = (register, 0, value);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x30));
        Assert.Equal(1, m.TscChanges);
    }

    [Fact]
    public void A_reset_is_a_load_of_the_first_state_and_a_clock_set_to_zero()
    {
        using var m = new EmulationMachine(64);
        ulong start = m.Cpu.ReadTsc();
        var first = new X86State();
        m.Cpu.Save(first);
        (uint Register, ulong Value)[] changes =
        [
            (0x1A0, 1), // IA32_MISC_ENABLE
            (0x200, 0x8000_0006), // IA32_MTRR_PHYSBASE0
            (0x201, 0xF_8000_0800), // IA32_MTRR_PHYSMASK0
            (0x250, 0x0606_0606_0606_0606), // IA32_MTRR_FIX64K_00000
            (0x277, 0x0007_0106_0007_0106), // IA32_PAT
            (0x2FF, 0xC00), // IA32_MTRR_DEF_TYPE
            (0x3B, 1ul << 60), // IA32_TSC_ADJUST
        ];
        ulong[] before = [.. changes.Select(c => Read(c.Register))];
        foreach ((uint register, ulong value) in changes)
        {
            (m.Cpu.Rcx, m.Cpu.Rdx, m.Cpu.Rax) = (register, value >> 32, (uint)value);
            Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x30));
            Assert.Equal(value, Read(register));
        }

        Assert.True(m.Cpu.ReadTsc() >= 1ul << 60);
        m.Cpu.Load(first);
        m.Vm.Clock.Set(0);

        Assert.Equal(before, changes.Select(c => Read(c.Register)));
        Assert.True(start < 1ul << 60);
        Assert.True(m.Cpu.ReadTsc() < 1ul << 60);

        ulong Read(uint register)
        {
            m.Cpu.Rcx = register;
            Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x32));
            return (m.Cpu.Rdx << 32) | (uint)m.Cpu.Rax;
        }
    }

    [Fact]
    public void Hypercalls_reach_the_host_from_the_kernel_only()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rax = 42;
        m.Cpu.Rbx = 8;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0x01, 0xC1));
        Assert.Equal(50ul, m.Cpu.Rax);
        m.Faults(Vector.InvalidOpcode, 0, 0x0F, 0x01, 0xC1);
        m.ToUser();
        m.Cpu.Rax = 42;
        m.Faults(Vector.InvalidOpcode, 0, 0x0F, 0x01, 0xC1);
    }

    [Fact]
    public void Xsave_round_trip_keeps_registers_and_initial_state()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Cr4 |= 0x40000;
        m.Cpu.Xcr0 = m.Cpu.Cpuid.Xcr0Supported & 7;
        Assert.SkipUnless(m.Cpu.Xcr0 == 7, "the host has no AVX");
        Span<byte> area;
        unsafe
        {
            area = new Span<byte>(m.Cpu.XsaveArea, 832);
        }

        area[160..832].Fill(0);
        area[160] = 0x5A;
        area[576 + 128] = 0x77;
        BitConverter.TryWriteBytes(area[512..], 6ul);
        m.Cpu.Rax = 7;
        m.Cpu.Rdx = 0;
        m.Cpu.Rbx = EmulationMachine.Data;
        m.Bytes(EmulationMachine.Data, 1024).Clear();
        m.Bytes(EmulationMachine.Data, 8).Fill(0xEE);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0xAE, 0x23));
        Assert.Equal(6ul, m[EmulationMachine.Data + 512]);
        Assert.Equal(0x37Ful, m[EmulationMachine.Data]);
        Assert.Equal(((ulong)HostMxcsr.Mask << 32) | 0x1F80, m[EmulationMachine.Data + 24]);
        Assert.Equal(0x5Aul, m[EmulationMachine.Data + 160]);
        Assert.Equal(0x77ul, m[EmulationMachine.Data + 576 + 128]);
        area[160] = 0;
        area[576 + 128] = 0;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0xAE, 0x2B));
        Assert.Equal((0x5A, 0x77), (area[160], area[576 + 128]));

        // Compacted: the same place, since AVX is the first component of the extended region.
        m.Bytes(EmulationMachine.Data, 1024).Fill(0xCC);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0xC7, 0x23));
        Assert.Equal((6ul, 0x8000000000000007), (m[EmulationMachine.Data + 512], m[EmulationMachine.Data + 520]));
        m.Bytes(EmulationMachine.Data + 528, 48).Clear();
        m[EmulationMachine.Data + 512] = 2;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x0F, 0xAE, 0x2B));
        Assert.Equal((0x5A, 0), (area[160], area[576 + 128]));
        m.Cpu.Rbx += 8;
        m.Faults(Vector.GeneralProtection, 0, 0x0F, 0xAE, 0x2B);
        m.Cpu.Cr0 |= 8;
        m.Faults(Vector.DeviceNotAvailable, 0, 0x0F, 0xAE, 0x2B);
    }

    [Fact]
    public void Environment_of_x87_has_tags_and_no_host_addresses()
    {
        using var m = new EmulationMachine(64);
        unsafe
        {
            byte* area = m.Cpu.XsaveArea;
            area[3] = 0x38;
            area[4] = 0x80;
            *(ulong*)(area + 8) = 0x1234567812345678;
            *(ulong*)(area + 32) = 1ul << 63;
            *(ushort*)(area + 40) = 0x3FFF;
            *(ulong*)(area + 512) = 1;
        }

        m.Cpu.Rbx = EmulationMachine.Data;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xD9, 0x33));
        Assert.Equal(0xFFFF3800_FFFF037Ful, m[EmulationMachine.Data]);
        Assert.Equal(0x00000000_FFFF3FFFul, m[EmulationMachine.Data + 8]);
        Assert.Equal(0ul, m[EmulationMachine.Data + 16]);
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xD9, 0x23));
        unsafe
        {
            Assert.Equal(0x80, m.Cpu.XsaveArea[4]);
        }
    }

    [Theory]
    [InlineData(0x27, 0x9A, 0, 0x00, 0x55)]
    [InlineData(0x27, 0x15, 0x10, 0x1B, 0x14)]
    [InlineData(0x2F, 0x2A, 0, 0x24, 0x14)]
    [InlineData(0x37, 0x020B, 0, 0x0301, 0x11)]
    [InlineData(0x3F, 0x0205, 0x10, 0x000F, 0x11)]
    public void Decimal_adjustments(int opcode, ulong before, ulong flags, ulong after, ulong flagsAfter)
    {
        using var m = new EmulationMachine(32);
        m.Cpu.Rax = before;
        m.Cpu.Rflags = flags;
        Assert.Equal(Vcpu.Outcome.Next, m.Run((byte)opcode));
        Assert.Equal(after, m.Cpu.Rax);
        ulong mask = opcode is 0x37 or 0x3F ? 0x11ul : 0xD5;
        Assert.Equal(flagsAfter & mask, m.Cpu.Rflags & mask);
    }

    [Fact]
    public void Stack_forms_move_their_widths()
    {
        using var m = new EmulationMachine(64);
        m.Cpu.Rax = 0x1122334455667788;
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x66, 0x50));
        Assert.Equal((0x7FFEul, 0x7788ul), (m.Cpu.Rsp, m[0x7FFE] & 0xFFFF));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x66, 0x5B));
        Assert.Equal((0x8000ul, 0x7788ul), (m.Cpu.Rsp, m.Cpu.Rbx));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x6A, 0xFF));
        Assert.Equal(ulong.MaxValue, m[0x7FF8]);

        // POP into memory at RSP: the address is that after the pop.
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0x8F, 0x04, 0x24));
        Assert.Equal((0x8000ul, ulong.MaxValue), (m.Cpu.Rsp, m[0x8000]));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xC8, 0x20, 0, 0));
        Assert.Equal((0x7FF8ul, 0x7FD8ul), (m.Cpu.Rbp, m.Cpu.Rsp));
        Assert.Equal(Vcpu.Outcome.Next, m.Run(0xC9));
        Assert.Equal((0ul, 0x8000ul), (m.Cpu.Rbp, m.Cpu.Rsp));
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xE8, 0xFB, 0xFF, 0xFF, 0xFF));
        ulong rip = m.Cpu.Rip;
        Assert.Equal(m[0x7FF8], rip + 5);
        Assert.Equal(Vcpu.Outcome.Jumped, m.Run(0xC3));
        Assert.Equal((rip + 5, 0x8000ul), (m.Cpu.Rip, m.Cpu.Rsp));
    }

    [Fact]
    public void Shadow_stack_pointer_reads_as_nothing()
    {
        using var machine = new EmulationMachine(64);
        machine.Cpu.Rax = 0x1234_5678_9ABC_DEF0;
        Assert.Equal(Vcpu.Outcome.Next, machine.Run(0xF3, 0x48, 0x0F, 0x1E, 0xC8));
        Assert.Equal(Vcpu.Outcome.Next, machine.Run(0xF3, 0x0F, 0x1E, 0xC8));
        Assert.Equal(0x1234_5678_9ABC_DEF0u, machine.Cpu.Rax);
    }
}
