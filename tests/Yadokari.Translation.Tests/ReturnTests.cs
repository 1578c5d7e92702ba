using Iced.Intel;
using Yadokari.Core.Engines;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>Calls and returns in translated code, paired and not: a predicted return must never go where the guest's would not.</summary>
public sealed unsafe class ReturnTests
{
    private const ulong Code = 0x5000;
    private const ulong Function = 0x5400;
    private const ulong Other = 0x5800;
    private const ulong Handler = 0x6000;
    private const ulong Fault = Handler + 0x800;

    // Linear pages above 2 MiB have page table entries of their own.
    private const ulong Remapped = EmulationMachine.Data + 0x5000;
    private const ulong OtherPage = 0x8000;

    private static EmulationMachine Machine(Action<Assembler> code, Action<Assembler>? function = null, ulong at = Code)
    {
        var m = new EmulationMachine(64);
        Put(m, at, code);
        Put(m, Function, function ?? (a => a.ret()));
        Put(m, Handler, a =>
        {
            // A notification that comes late ends a halt.
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.hlt();
            a.jmp(again);
        });
        Put(m, Fault, a => a.hlt());
        m.SetGate(13, Fault);
        m.SetGate(14, Fault);
        m.SetGate(0x40, Handler);
        m.Cpu.Rip = at;
        return m;
    }

    private static void Put(EmulationMachine m, ulong at, Action<Assembler> write)
    {
        byte[] code = Assemble(at, write);
        code.CopyTo(m.Bytes(at, code.Length));
    }

    private static byte[] Assemble(ulong at, Action<Assembler> write)
    {
        var a = new Assembler(64);
        write(a);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), at);
        return stream.ToArray();
    }

    private static void RunToHalt(EmulationMachine m, Action? meanwhile = null)
    {
        VmExit exit = VmExit.Shutdown;
        var thread = new Thread(() => exit = m.Go()) { IsBackground = true };
        thread.Start();
        meanwhile?.Invoke();
        Assert.True(thread.Join(TimeSpan.FromMinutes(1)), "the guest's code ran on for ever");
        Assert.True(exit is VmExit.Halted or VmExit.HaltedWithInterruptsDisabled);
    }

    /// <summary>Runs the code several times over, so that it runs linked.</summary>
    private static void RunAgain(EmulationMachine m, ulong at = Code)
    {
        for (int i = 0; i < 3; i++)
        {
            m.Cpu.Rip = at;
            m.Cpu.Rsp = 0x8000;
            RunToHalt(m);
        }
    }

    [Theory]
    [InlineData(10)]
    [InlineData(1021)]
    [InlineData(1022)]
    [InlineData(1023)]
    [InlineData(5000)]
    public void Recursion_may_be_deeper_than_the_return_stack(int depth)
    {
        using EmulationMachine m = Machine(
            a =>
            {
                a.mov(ecx, depth);
                a.xor(eax, eax);
                a.xor(ebx, ebx);
                a.call(Function);
                a.hlt();
            },
            a =>
            {
                Label done = a.CreateLabel();
                a.add(rax, rcx);
                a.dec(rcx);
                a.jz(done);
                a.call(Function);
                a.Label(ref done);
                a.inc(rbx);
                a.ret();
            });
        for (int i = 0; i < 3; i++)
        {
            m.Cpu.Rip = Code;
            m.Cpu.Rsp = 0x100000;
            RunToHalt(m);
            Assert.Equal(((ulong)depth * ((ulong)depth + 1) / 2, (ulong)depth, 0x100000ul), (m.Cpu.Rax, m.Cpu.Rbx, m.Cpu.Rsp));
        }
    }

    [Fact]
    public void Flags_and_registers_pass_through_calls_and_returns()
    {
        using EmulationMachine m = Machine(
            a =>
            {
                a.mov(rax, 0x1122334455667788ul);
                a.stc();
                a.call(Function);
                a.setc(bl);
                a.seto(bh);
                a.lea(rdi, __[Function]);
                a.call(rdi);
                a.setc(cl);
                a.hlt();
            },
            a =>
            {
                a.setc(dl);
                a.cmc();
                a.ret(16);
            });
        RunAgain(m);
        Assert.Equal((0ul, 1ul, 0ul), (m.Cpu.Rbx & 0xFFFF, m.Cpu.Rcx & 0xFF, m.Cpu.Rdx & 0xFF));
        Assert.Equal((0x1122334455667788ul, 0x8020ul), (m.Cpu.Rax, m.Cpu.Rsp));
    }

    [Fact]
    public void A_return_goes_where_the_stack_says()
    {
        // As a retpoline: a call whose return address is replaced; then the outer calls return as ever.
        using EmulationMachine m = Machine(
            a =>
            {
                a.xor(ebx, ebx);
                a.call(Other + 0x100);
                a.inc(ebx);
                a.hlt();
            },
            a =>
            {
                a.add(ebx, 0x10);
                a.ret();
            });
        Put(m, Other + 0x100, a =>
        {
            a.call(Other);
            a.add(ebx, 0x100);
            a.ret();
        });
        Put(m, Other, a =>
        {
            Label trap = a.CreateLabel();
            Label set = a.CreateLabel();
            a.call(set);
            a.Label(ref trap);
            a.ud2();
            a.Label(ref set);
            a.mov(__qword_ptr[rsp], (int)Function);
            a.ret();
        });
        RunAgain(m);
        Assert.Equal((0x111ul, 0x8000ul), (m.Cpu.Rbx, m.Cpu.Rsp));
    }

    [Fact]
    public void Frames_may_be_left_behind()
    {
        // As longjmp: from three calls deep back to the first one's caller.
        using EmulationMachine m = Machine(
            a =>
            {
                a.xor(ebx, ebx);
                a.mov(rbp, rsp);
                a.call(Function);
                a.inc(ebx);
                a.call(Other + 0x80);
                a.inc(ebx);
                a.hlt();
            },
            a =>
            {
                a.call(Other);
                a.ud2();
            });
        Put(m, Other, a =>
        {
            a.call(Other + 0x40);
            a.ud2();
        });
        Put(m, Other + 0x40, a =>
        {
            a.lea(rsp, __[rbp - 8]);
            a.ret();
        });
        Put(m, Other + 0x80, a => a.ret());
        RunAgain(m);
        Assert.Equal((2ul, 0x8000ul), (m.Cpu.Rbx, m.Cpu.Rsp));
    }

    [Fact]
    public void A_return_into_code_that_was_rewritten_runs_the_new_code()
    {
        byte[] fresh = Assemble(0, a =>
        {
            a.mov(bl, 2);
            a.hlt();
        });
        using EmulationMachine m = Machine(
            a =>
            {
                a.mov(ebx, 0);
                a.call(Function);
                a.mov(bl, 1);
                a.hlt();
            },
            a =>
            {
                a.mov(eax, BitConverter.ToInt32([.. fresh, 0x90, 0x90], 0));
                a.mov(__dword_ptr[rdi], eax);
                a.ret();
            });

        // First elsewhere, so that all is linked; then over what follows the call.
        m.Cpu.Rdi = EmulationMachine.Data;
        RunAgain(m);
        Assert.Equal(1ul, m.Cpu.Rbx);
        m.Cpu.Rip = Code;
        m.Cpu.Rdi = Code + 10;
        RunToHalt(m);
        Assert.Equal(2ul, m.Cpu.Rbx);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void A_return_into_a_page_that_means_another_runs_that_one(bool entry, bool user)
    {
        // The function changes where the caller's linear page lies: by another CR3, or by one entry and INVLPG.
        using EmulationMachine m = Machine(
            a =>
            {
                a.call(Function);
                a.mov(ebx, 1);
                a.cli();
                a.hlt();
            },
            a =>
            {
                if (user)
                {
                    a.syscall();
                }
                else if (entry)
                {
                    a.mov(__qword_ptr[rdi], rax);
                    a.invlpg(__[rsi]);
                }
                else
                {
                    a.mov(cr3, rdx);
                }

                a.ret();
            },
            Remapped);
        Put(m, OtherPage, a =>
        {
            a.call(Function);
            a.mov(ebx, 2);
            a.cli();
            a.hlt();
        });

        // Entered by SYSCALL from the user's function.
        Put(m, Other, a =>
        {
            a.mov(__qword_ptr[rdi], rax);
            a.invlpg(__[rsi]);
            a.sysretq();
        });
        ulong tables = EmulationMachine.PageTables;
        ulong another = 0x20000;
        m.Bytes(tables, 0x4000).CopyTo(m.Bytes(another, 0x4000));
        m[another] = (another + 0x1000) | 7;
        m[another + 0x1000] = (another + 0x2000) | 7;
        m[another + 0x2008] = (another + 0x3000) | 7;
        m[another + 0x3000 + (5 * 8)] = OtherPage | 7;
        m.Cpu.Star = 0x001B_0008_0000_0000;
        m.Cpu.Lstar = Other;
        m.Cpu.Fmask = 0x4_08D5;
        for (int i = 0; i < 3; i++)
        {
            foreach (bool changes in (ReadOnlySpan<bool>)[false, true])
            {
                m.Cpu.Cr3 = tables;
                m[tables + 0x3000 + (5 * 8)] = Remapped | 7;
                m.Cpu.Mmu.FlushAll();
                if (user)
                {
                    m.ToUser();
                }

                m.Cpu.Rip = Remapped;
                m.Cpu.Rsp = 0x8000;
                m.Cpu.Rax = (changes ? OtherPage : Remapped) | 7;
                m.Cpu.Rdi = tables + 0x3000 + (5 * 8);
                m.Cpu.Rsi = Remapped;
                m.Cpu.Rdx = changes ? another : tables;
                RunToHalt(m);
                Assert.Equal(changes ? 2ul : 1ul, m.Cpu.Rbx);
                Assert.Equal(user, m.Cpu.Rip == Fault + 1);
                m.ToKernel();
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_instruction_after_a_call_may_be_on_the_next_page(bool user)
    {
        ulong at = Remapped + 0x1000 - 5;
        using EmulationMachine m = Machine(a => a.call(Function), at: at);
        Put(m, at + 5, a =>
        {
            Label here = a.CreateLabel();
            a.Label(ref here);
            a.lea(rbx, __[here]);
            a.hlt();
        });
        for (int i = 0; i < 3; i++)
        {
            if (user)
            {
                m.ToUser();
            }

            m.Cpu.Rip = at;
            m.Cpu.Rsp = 0x8000;
            m.Cpu.Rbx = 0;
            RunToHalt(m);
            Assert.Equal(at + 5, m.Cpu.Rbx);
            Assert.Equal(user, m.Cpu.Rip == Fault + 1);
            m.ToKernel();
        }
    }

    [Fact]
    public void User_code_runs_at_each_of_its_linear_addresses()
    {
        // One physical page at two linear ones: the function returns to that which called.
        using EmulationMachine m = Machine(
            a =>
            {
                Label here = a.CreateLabel();
                a.call(Function);
                a.Label(ref here);
                a.lea(rbx, __[here]);
                a.hlt();
            },
            at: Remapped);
        m[EmulationMachine.PageTables + 0x3000 + (6 * 8)] = Remapped | 7;
        for (int i = 0; i < 6; i++)
        {
            ulong page = Remapped + ((ulong)(i & 1) << 12);
            m.ToUser();
            m.Cpu.Rip = page;
            m.Cpu.Rsp = 0x8000;
            RunToHalt(m);
            Assert.Equal(page + 5, m.Cpu.Rbx);
            m.ToKernel();
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_return_stays_at_its_own_level(bool up)
    {
        // The function returns, or goes to the other level and returns from there to its caller, which then runs at that level.
        using EmulationMachine m = Machine(
            a =>
            {
                a.call(Function);
                a.mov(ebx, cs);
                a.mov(rdx, __qword_ptr[rsi]);
                a.hlt();
            },
            a =>
            {
                Label stays = a.CreateLabel();
                a.test(edi, edi);
                a.jz(stays);
                if (up)
                {
                    a.syscall();
                }
                else
                {
                    a.lea(rcx, __[Other]);
                    a.mov(r11d, 2);
                    a.sysretq();
                }

                a.Label(ref stays);
                a.ret();
            });
        Put(m, Other, a => a.ret());

        // A page of the kernel's: users fault at what follows the call.
        m[EmulationMachine.PageTables + 0x3000 + (5 * 8)] = Remapped | 3;
        m[Remapped] = 0x1234;
        m.Cpu.Mmu.FlushAll();
        m.Cpu.Rsi = Remapped;
        m.Cpu.Star = 0x001B_0008_0000_0000;
        m.Cpu.Lstar = Other;
        m.Cpu.Fmask = 0x4_08D5;
        foreach (bool changes in (ReadOnlySpan<bool>)[false, false, true, true, false])
        {
            if (up)
            {
                m.ToUser();
            }

            m.Cpu.Rip = Code;
            m.Cpu.Rsp = 0x7800;
            m.Cpu.Rdi = changes ? 1u : 0;
            m.Cpu.Rdx = 0;
            RunToHalt(m);
            bool kernel = up == changes;
            Assert.Equal((kernel ? 8ul : 0x2Bul, kernel ? 0x1234ul : 0), (m.Cpu.Rbx, m.Cpu.Rdx));
            if (!kernel)
            {
                // The error code and the address in the handler's frame.
                Assert.Equal((Fault + 1, 5ul, Code + 7), (m.Cpu.Rip, m[m.Cpu.Rsp], m[m.Cpu.Rsp + 8]));
            }

            m.ToKernel();
        }
    }

    [Fact]
    public void A_return_to_address_zero_is_not_taken_for_the_bottom_of_the_return_stack()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.push(0);
            a.stc();
            a.ret();
        });
        Put(m, 0, a =>
        {
            a.setc(bl);
            a.hlt();
        });
        for (int i = 0; i < 3; i++)
        {
            m.Cpu.Rip = Code;
            m.Cpu.Rbx = 0;
            RunToHalt(m);
            Assert.Equal((1ul, 4ul), (m.Cpu.Rbx, m.Cpu.Rip));
        }
    }

    [Theory]
    [InlineData("calls")]
    [InlineData("returns")]
    [InlineData("both")]
    public void An_interrupt_ends_code_that_only_calls_and_returns(string what)
    {
        using EmulationMachine m = Machine(
            a => a.jmp(Function),
            a =>
            {
                if (what == "calls")
                {
                    // Calls itself for ever, in one frame.
                    a.lea(rsp, __[rsp + 8]);
                    a.call(Function);
                }
                else if (what == "returns")
                {
                    // Returns to itself for ever.
                    a.push(rdi);
                    a.ret();
                }
                else
                {
                    // Each function calls the next one twice: no jump goes back, and there are 2^60 calls.
                    for (int i = 0; i < 60; i++)
                    {
                        Label next = a.CreateLabel();
                        a.call(next);
                        a.call(next);
                        a.ret();
                        a.Label(ref next);
                    }

                    a.ret();
                }
            });
        m.Cpu.Rdi = Function;
        m.Cpu.Rflags |= 0x200;
        RunToHalt(m, () =>
        {
            Thread.Sleep(100); // It is to run for a while, and leaves no trace by which to know that it does.
            m.Waiting.Enqueue(0x40);
            m.Cpu.Notify();
        });
        Assert.Equal(Handler + 1, m.Cpu.Rip);
    }
}
