using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Yadokari.Translation.Tests.InlineTests;

namespace Yadokari.Translation.Tests;

/// <summary>SYSCALL and SYSRET in translated code: a user's program that calls a kernel, which halts the machine in the end.</summary>
public sealed unsafe class FastCallTests
{
    private const ulong Code = 0x5000;
    private const ulong Kernel = 0x5800;
    private const ulong Handler = 0x6000;
    private const ulong Data = EmulationMachine.Data;
    private const ulong LinuxMask = 0x257FD5;

    // CS 08 and SS 10 for SYSCALL; CS 2B and SS 23 for SYSRET.
    private static EmulationMachine User(Action<Assembler> program, Action<Assembler> kernel, Action<Assembler>? handler = null, ulong mask = LinuxMask)
    {
        EmulationMachine m = Machine(program, handler);
        Put(m, Kernel, kernel);
        m.ToUser();
        m.Cpu.Star = (0x1Bul << 48) | (8ul << 32);
        m.Cpu.Lstar = Kernel;
        m.Cpu.Fmask = mask;
        m.Cpu.Rflags = 0x202;
        return m;
    }

    // Returns until RAX is 0.
    private static void HaltOrReturn(Assembler a)
    {
        Label done = a.CreateLabel();
        a.test(eax, eax);
        a.jz(done);
        a.sysretq();
        a.Label(ref done);
        a.hlt();
    }

    [Fact]
    public void Calls_and_returns_stay_in_translated_code()
    {
        using EmulationMachine m = User(
            a =>
            {
                Label next = a.CreateLabel();
                a.mov(ebp, 50);
                a.xor(edi, edi);
                a.Label(ref next);
                a.mov(eax, 1);
                a.cmp(eax, 2);
                a.syscall();
                a.adc(edi, 0);
                a.mov(r9d, ss);
                a.dec(ebp);
                a.jnz(next);
                a.xor(eax, eax);
                a.syscall();
            },
            a =>
            {
                a.mov(edx, cs);
                a.mov(r8d, ss);
                a.mov(r12, rcx);
                a.mov(r13, r11);
                a.pushfq();
                a.pop(rbx);
                HaltOrReturn(a);
            });
        RunToHalt(m);

        // The first call comes before anything is known.
        Assert.Equal(0, m.Emulated("syscall") + m.Emulated("sysretq") + m.Emulated("mov"));
        Assert.Equal((8ul, 0x10ul, 0x23ul), (m.Cpu.Rdx, m.Cpu.Gpr(8), m.Cpu.Gpr(9)));
        Assert.Equal((0, (ushort)8, (ushort)0x10), (m.Cpu.Cpl, m.Cpu.Segments[1].Selector, m.Cpu.Segments[2].Selector));
        Assert.Equal(50ul, m.Cpu.Rdi);
        Assert.Equal(2ul, m.Cpu.Rbx);
        Assert.Equal(0x246ul, m.Cpu.Gpr(13));
        Assert.Equal(0x246ul, m.Cpu.Gpr(11));
        Assert.Equal(m.Cpu.Rcx, m.Cpu.Gpr(12));
    }

    [Fact]
    public void The_user_is_what_he_was_after_the_return()
    {
        using EmulationMachine m = User(
            a =>
            {
                a.mov(eax, 1);
                a.syscall();
                a.mov(ebx, cs);
                a.cli();
            },
            HaltOrReturn);
        RunToHalt(m);
        Assert.Equal((Handler + 0x801, 0x2Bul), (m.Cpu.Rip, m.Cpu.Rbx));

        // What was interrupted: RIP, CS, RFLAGS, RSP, SS above the error code.
        Assert.Equal((0x2Bul, 0x23ul), (m[m.Cpu.Rsp + 16], m[m.Cpu.Rsp + 40]));
    }

    [Theory]
    [InlineData(LinuxMask & ~(1ul << 18), 1ul << 18, true)]
    [InlineData(LinuxMask & ~1ul, 1ul, true)]
    [InlineData(LinuxMask & ~(1ul << 21), 1ul << 21, false)]
    [InlineData(LinuxMask & ~0x200ul, 0x200ul, false)]
    public void Flags_that_the_mask_lets_through_reach_the_kernel(ulong mask, ulong flag, bool emulated)
    {
        using EmulationMachine m = User(
            a => a.syscall(),
            a =>
            {
                a.pushfq();
                a.pop(rbx);
                a.hlt();
            },
            mask: mask);
        m.Cpu.Rflags = 0x240E03 & ~(1ul << 10);
        RunToHalt(m);
        Assert.Equal(flag | 2, m.Cpu.Rbx);
        Assert.Equal(emulated ? 1 : 0, m.Emulated("syscall"));
        Assert.Equal(0x240A03ul, m.Cpu.Gpr(11));
    }

    [Fact]
    public void Syscall_is_undefined_unless_enabled()
    {
        using EmulationMachine m = User(a => a.syscall(), a => a.hlt());
        m.Cpu.Efer &= ~1ul;
        RunToHalt(m);
        Assert.Equal(Handler + 0x801, m.Cpu.Rip);
        Assert.Equal(Code, m[m.Cpu.Rsp]);
    }

    [Fact]
    public void Sysret_to_an_address_that_is_not_canonical_faults_in_the_kernel()
    {
        using EmulationMachine m = User(
            a => a.syscall(),
            a =>
            {
                a.mov(rcx, 1ul << 47);
                a.sysretq();
            });
        RunToHalt(m);
        Assert.Equal(Handler + 0x801, m.Cpu.Rip);
        Assert.Equal((0ul, 8ul), (m[m.Cpu.Rsp], m[m.Cpu.Rsp + 16]));
    }

    [Fact]
    public void Sysret_is_not_for_users()
    {
        using EmulationMachine m = User(a => a.sysretq(), a => a.hlt());
        RunToHalt(m);
        Assert.Equal(Handler + 0x801, m.Cpu.Rip);
    }

    [Theory]
    [InlineData(0x100)]
    [InlineData(0x40000)]
    [InlineData(0x200000)]
    [InlineData(0x400)]
    public void Flags_of_consequence_come_back_to_the_user(int flag)
    {
        using EmulationMachine m = User(
            a =>
            {
                a.mov(eax, 1);
                a.syscall();
                a.nop();
                a.ud2();
            },
            a =>
            {
                a.or(r11, flag);
                HaltOrReturn(a);
            });
        m.SetGate(1, Handler + 0x800);
        RunToHalt(m);
        Assert.Equal(1, m.Emulated("sysretq"));

        // With TF set a trap at once, by the flags that SYSRET leaves; otherwise the invalid instruction.
        Assert.Equal(flag == 0x100 ? Code + 7 : Code + 8, m[m.Cpu.Rsp]);
        Assert.Equal((ulong)flag, m[m.Cpu.Rsp + 16] & (ulong)flag);
    }

    [Fact]
    public void An_interrupt_that_waited_is_taken_right_after_sysret_opens_the_window()
    {
        using EmulationMachine m = User(
            a =>
            {
                a.mov(eax, 1);
                a.syscall();
                a.mov(edx, 2);
                a.ud2();
            },
            a =>
            {
                a.mov(edx, 1);
                a.@out(0x80, al);
                HaltOrReturn(a);
            },
            a =>
            {
                a.mov(rsi, __[rsp]);
                a.hlt();
            });
        m.OnPortWrite = _ =>
        {
            m.Waiting.Enqueue(0x40);
            m.Cpu.Notify();
        };
        RunToHalt(m);
        Assert.Equal((1ul, Code + 7), (m.Cpu.Rdx, m.Cpu.Rsi));
    }

    [Fact]
    public void The_kernel_may_turn_to_another_address_space_in_a_call()
    {
        // Two address spaces whose data pages hold different code of the user's; each call changes them.
        using EmulationMachine m = User(
            a =>
            {
                Label next = a.CreateLabel();
                a.mov(ebp, 20);
                a.xor(r8d, r8d);
                a.Label(ref next);
                a.mov(eax, 1);
                a.syscall();
                a.call(Data);
                a.dec(ebp);
                a.jnz(next);
                a.xor(eax, eax);
                a.syscall();
            },
            a =>
            {
                a.mov(rbx, cr3);
                a.xor(ebx, 0x30003);
                a.bts(rbx, 63);
                a.mov(cr3, rbx);
                HaltOrReturn(a);
            });
        const ulong First = EmulationMachine.PageTables;
        const ulong Second = First + 0x10000;
        for (ulong at = 0; at < 0x4000; at += 8)
        {
            ulong entry = m[First + at];
            m[Second + at] = at is 0 or 0x1000 or 0x2008 ? entry + 0x10000 : at == 0x3000 ? entry + 0x4000 : entry;
        }

        Put(m, Data, a =>
        {
            a.add(r8d, 1);
            a.ret();
        });
        Put(m, Data + 0x4000, a =>
        {
            a.add(r8d, 0x100);
            a.ret();
        });
        m.Cpu.Rsp = Data + 0x8000;
        m.Cpu.Cr4 |= (1 << 7) | (1 << 17);
        m.Cpu.Cr3 = First | 1;
        m.Cpu.Mmu.FlushAll();
        RunToHalt(m);
        Assert.Equal(0xA0Aul, m.Cpu.Gpr(8));
    }
}
