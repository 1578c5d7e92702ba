using Iced.Intel;
using Yadokari.Core.Engines;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>Sensitive instructions in translated code: small 64-bit programs that end with HLT, run by the engine.</summary>
public sealed unsafe class InlineTests
{
    private const ulong Data = EmulationMachine.Data;
    private const ulong Code = 0x5000;
    private const ulong Handler = 0x6000;

    internal static EmulationMachine Machine(Action<Assembler> write, Action<Assembler>? handler = null, ulong at = Code)
    {
        var m = new EmulationMachine(64);
        Put(m, at, write);
        Put(m, Handler, handler ?? (a => a.hlt()));
        foreach (int vector in (ReadOnlySpan<int>)[6, 13, 14, 0x40])
        {
            m.SetGate(vector, Handler + (vector == 0x40 ? 0 : 0x800ul));
        }

        Put(m, Handler + 0x800, a => a.hlt());
        m.Cpu.Rip = at;
        return m;
    }

    internal static void Put(EmulationMachine m, ulong at, Action<Assembler> write)
    {
        var a = new Assembler(64);
        write(a);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), at);
        stream.ToArray().CopyTo(m.Bytes(at, (int)stream.Length));
    }

    internal static void RunToHalt(EmulationMachine m)
    {
        VmExit exit = VmExit.Shutdown;
        var thread = new Thread(() => exit = m.Go());
        thread.Start();
        thread.Join();
        Assert.True(exit is VmExit.Halted or VmExit.HaltedWithInterruptsDisabled);
    }

    private static bool Faulted(EmulationMachine m) => m.Cpu.Rip == Handler + 0x801;

    [Theory]
    [InlineData("stosb", 4096, 0, true)]
    [InlineData("stosw", 2048, 0, true)]
    [InlineData("stosd", 1024, 0, true)]
    [InlineData("stosq", 512, 0, true)]
    [InlineData("stosq", 0, 0xFFF, true)]
    [InlineData("stosq", 1, 0xFF8, true)]
    [InlineData("stosq", 2, 0xFF8, false)]
    [InlineData("stosb", 4097, 0, false)]
    [InlineData("stosd", 700, 0xF01, false)]
    public void Repeated_stos_fills_what_the_emulator_would(string mnemonic, int count, int offset, bool stays)
    {
        int bytes = mnemonic[^1] switch { 'b' => 1, 'w' => 2, 'd' => 4, _ => 8 };
        using EmulationMachine m = Machine(a =>
        {
            a.cmp(rbx, rbx);
            switch (bytes)
            {
                case 1:
                    a.rep.stosb();
                    break;
                case 2:
                    a.rep.stosw();
                    break;
                case 4:
                    a.rep.stosd();
                    break;
                default:
                    a.rep.stosq();
                    break;
            }

            a.sete(bl);
            a.hlt();
        });
        Span<byte> memory = m.Bytes(Data, 0x2000);
        memory.Fill(0x77);
        byte[] expected = memory.ToArray();
        m.Cpu.Rax = 0x1122334455667788;
        byte[] value = BitConverter.GetBytes(m.Cpu.Rax);
        for (int i = 0; i < count * bytes; i++)
        {
            expected[offset + i] = value[i % bytes];
        }

        m.Cpu.Rdi = Data + (ulong)offset;
        m.Cpu.Rcx = (ulong)count;
        RunToHalt(m);
        Assert.True(memory.SequenceEqual(expected));
        Assert.Equal((0ul, Data + (ulong)(offset + (count * bytes)), 1ul), (m.Cpu.Rcx, m.Cpu.Rdi, m.Cpu.Rbx));
        Assert.Equal(0x1122334455667788ul, m.Cpu.Rax);
        Assert.Equal(stays, m.Emulated(mnemonic) == 0);
    }

    [Theory]
    [InlineData("movsb", 0, 0x1000, 4096, true)]
    [InlineData("movsb", 0x10, 0x11, 500, true)]
    [InlineData("movsb", 0x11, 0x10, 500, true)]
    [InlineData("movsw", 0x21, 0x1010, 100, true)]
    [InlineData("movsd", 0, 0x1000, 1024, true)]
    [InlineData("movsq", 0, 0x1000, 512, true)]
    [InlineData("movsq", 8, 0x1000, 512, false)]
    [InlineData("movsq", 0, 0xFF9, 1, false)]
    [InlineData("movsq", 0xFFF, 0, 0, true)]
    public void Repeated_movs_copies_upwards(string mnemonic, int source, int destination, int count, bool stays)
    {
        int bytes = mnemonic[^1] switch { 'b' => 1, 'w' => 2, 'd' => 4, _ => 8 };
        using EmulationMachine m = Machine(a =>
        {
            a.stc();
            switch (bytes)
            {
                case 1:
                    a.rep.movsb();
                    break;
                case 2:
                    a.rep.movsw();
                    break;
                case 4:
                    a.rep.movsd();
                    break;
                default:
                    a.rep.movsq();
                    break;
            }

            a.setc(bl);
            a.hlt();
        });
        Span<byte> memory = m.Bytes(Data, 0x2000);
        new Random(5).NextBytes(memory);
        byte[] expected = memory.ToArray();
        for (int i = 0; i < count * bytes; i += bytes)
        {
            expected.AsSpan(source + i, bytes).ToArray().CopyTo(expected, destination + i);
        }

        m.Cpu.Rsi = Data + (ulong)source;
        m.Cpu.Rdi = Data + (ulong)destination;
        m.Cpu.Rcx = (ulong)count;
        m.Cpu.Rbx = 0;
        RunToHalt(m);
        Assert.True(memory.SequenceEqual(expected));
        ulong length = (ulong)(count * bytes);
        Assert.Equal((0ul, Data + (ulong)source + length, Data + (ulong)destination + length), (m.Cpu.Rcx, m.Cpu.Rsi, m.Cpu.Rdi));
        Assert.Equal(1ul, m.Cpu.Rbx);
        Assert.Equal(stays, m.Emulated(mnemonic) == 0);
    }

    [Fact]
    public void A_count_whose_bytes_wrap_is_not_taken_for_a_small_one()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.rep.stosq();
            a.hlt();
        });
        m.Cpu.Rdi = Data + 0x1000;
        m.Cpu.Rcx = 1ul << 61;
        RunToHalt(m);
        Assert.True(Faulted(m));
        Assert.Equal(((1ul << 61) - 512, EmulationMachine.Hole), (m.Cpu.Rcx, m.Cpu.Rdi));
        Assert.Equal(EmulationMachine.Hole, m.Cpu.Cr2);
    }

    [Fact]
    public void A_fault_of_a_string_leaves_finished_elements_counted()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.rep.movsb();
            a.hlt();
        });
        m.Cpu.Rsi = Data;
        m.Cpu.Rdi = EmulationMachine.Hole - 5;
        m.Cpu.Rcx = 9;
        RunToHalt(m);
        Assert.True(Faulted(m));
        Assert.Equal((4ul, Data + 5, EmulationMachine.Hole), (m.Cpu.Rcx, m.Cpu.Rsi, m.Cpu.Rdi));
        Assert.Equal(Code, m[m.Cpu.Rsp + 8]);
    }

    // Some 5000 bytes up to the missing page, from the source's or the destination's point of view; elements that cross count as one.
    [Theory]
    [InlineData("movsb", 0xC01, true)]
    [InlineData("movsb", 0xC01, false)]
    [InlineData("movsq", 0xC00, true)]
    [InlineData("movsq", 0xC03, true)]
    [InlineData("movsq", 0xC03, false)]
    public void A_long_string_that_faults_in_a_later_page_leaves_exact_registers(string mnemonic, int offset, bool source)
    {
        int bytes = mnemonic == "movsb" ? 1 : 8;
        using EmulationMachine m = Machine(a =>
        {
            if (bytes == 1)
            {
                a.rep.movsb();
            }
            else
            {
                a.rep.movsq();
            }

            a.hlt();
        });
        ulong faulting = Data + (ulong)offset;
        ulong other = Data + 0x8123;
        (m.Cpu.Rsi, m.Cpu.Rdi) = source ? (faulting, other) : (other, faulting);
        m.Cpu.Rcx = 50000;
        new Random(5).NextBytes(m.Bytes(source ? faulting : other, 6000));
        RunToHalt(m);
        Assert.True(Faulted(m));
        ulong done = (EmulationMachine.Hole - faulting) / (ulong)bytes;
        Assert.Equal(50000 - done, m.Cpu.Rcx);
        Assert.Equal((faulting + (done * (ulong)bytes), other + (done * (ulong)bytes)), source ? (m.Cpu.Rsi, m.Cpu.Rdi) : (m.Cpu.Rdi, m.Cpu.Rsi));
        Assert.Equal((EmulationMachine.Hole, Code), (m.Cpu.Cr2, m[m.Cpu.Rsp + 8]));
        Assert.True(m.Bytes(faulting, (int)done * bytes).SequenceEqual(m.Bytes(other, (int)done * bytes)));
    }

    [Fact]
    public void Selectors_and_control_registers_are_read_without_the_emulator()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.mov(rax, ulong.MaxValue);
            a.mov(rbx, rax);
            a.mov(r15, rax);
            a.mov(ax, ss);
            a.mov(ebx, cs);
            a.mov(r15w, ds);
            a.mov(rcx, cr0);
            a.mov(rdx, cr2);
            a.mov(rsi, cr3);
            a.mov(r10, cr4);
            a.hlt();
        });
        m.Cpu.Cr2 = 0x123456789;
        RunToHalt(m);
        Assert.Equal((0xFFFF_FFFF_FFFF_0010ul, 8ul, 0xFFFF_FFFF_FFFF_0010ul), (m.Cpu.Rax, m.Cpu.Rbx, m.Cpu.Gpr(15)));
        Assert.Equal((m.Cpu.Cr0, 0x123456789ul, m.Cpu.Cr3, m.Cpu.Cr4), (m.Cpu.Rcx, m.Cpu.Rdx, m.Cpu.Rsi, m.Cpu.Gpr(10)));
        Assert.Equal(0, m.Emulated("mov"));
    }

    [Fact]
    public void Control_registers_are_not_for_users()
    {
        using EmulationMachine m = Machine(a => a.mov(rax, cr2));
        m.ToUser();
        RunToHalt(m);
        Assert.True(Faulted(m));
    }

    [Fact]
    public void Single_string_elements_move_on()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.movsb();
            a.movsw();
            a.movsd();
            a.movsq();
            a.stosb();
            a.stosq();
            a.hlt();
        });
        new Random(3).NextBytes(m.Bytes(Data, 64));
        m.Cpu.Rsi = Data;
        m.Cpu.Rdi = Data + 0x1000;
        m.Cpu.Rax = 0x0102030405060708;
        m.Cpu.Rcx = 77;
        RunToHalt(m);
        Assert.True(m.Bytes(Data, 15).SequenceEqual(m.Bytes(Data + 0x1000, 15)));
        Assert.Equal((0x08, 0x0102030405060708ul), (m.Bytes(Data + 0x100F, 1)[0], m[Data + 0x1010]));
        Assert.Equal((Data + 15, Data + 0x1018, 77ul), (m.Cpu.Rsi, m.Cpu.Rdi, m.Cpu.Rcx));
    }

    [Fact]
    public void Pushed_flags_are_all_of_them()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.mov(al, 0x7F);
            a.add(al, 1);
            a.pushfq();
            a.stc();
            a.pushfq();
            a.pop(rbx);
            a.pop(rcx);
            a.hlt();
        });
        m.Cpu.Rflags = 0x2 | (1 << 21) | (1 << 12);
        RunToHalt(m);
        const ulong System = 0x2 | (1 << 21) | (1 << 12);
        Assert.Equal(System | 0x890, m.Cpu.Rcx);
        Assert.Equal(System | 0x891, m.Cpu.Rbx);
        Assert.Equal(0, m.Emulated("pushfq"));
    }

    [Theory]
    [InlineData(0x2 | 0x8D5, true)]
    [InlineData(0x2 | 0x201, true)]
    [InlineData(0x2 | 0x800, true)]
    [InlineData(0x2 | 0x40044, false)]
    [InlineData(0x2 | 0x4400, false)]
    public void Popped_flags_take_hold(ulong flags, bool stays)
    {
        using EmulationMachine m = Machine(a =>
        {
            a.push(rbx);
            a.popfq();
            a.mov(rdx, rax);
            a.pushfq();
            a.pop(rcx);
            a.hlt();
        });
        m.Cpu.Rflags = 2;
        m.Cpu.Rbx = flags;
        m.Cpu.Rax = 0x123456789ABCDEF0;
        RunToHalt(m);
        Assert.Equal((flags, 0x123456789ABCDEF0ul), (m.Cpu.Rcx, m.Cpu.Rdx));
        Assert.Equal((flags, 0x8000ul), (m.Cpu.Rflags, m.Cpu.Rsp));
        Assert.Equal(stays, m.Emulated("popfq") == 0);
    }

    [Fact]
    public void Cli_and_sti_keep_arithmetic_flags()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.stc();
            a.sti();
            a.setc(bl);
            a.pushfq();
            a.stc();
            a.cli();
            a.setc(bh);
            a.pop(rcx);
            a.hlt();
        });
        m.Cpu.Rbx = 0;
        RunToHalt(m);
        Assert.Equal((0x101ul, 0x203ul), (m.Cpu.Rbx, m.Cpu.Rcx & 0x203));
        Assert.Equal(0ul, m.Cpu.Rflags & 0x200);
        Assert.Equal(0, m.Emulated("sti") + m.Emulated("cli"));
    }

    // The handler notes RDX and goes back.
    private static void NoteRdx(Assembler a)
    {
        a.mov(rsi, rdx);
        a.add(rdi, 1);
        a.iretq();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Sti_lets_one_instruction_run_before_a_waiting_interrupt(bool arrivesWhileOff)
    {
        using EmulationMachine m = Machine(
            a =>
            {
                Label loop = a.CreateLabel();
                a.cli();
                a.@out(0x80, al);
                a.mov(ecx, 3);
                a.Label(ref loop);
                a.dec(ecx);
                a.jnz(loop);
                a.sti();
                a.mov(edx, 1);
                a.mov(edx, 2);
                a.cli();
                a.hlt();
            },
            NoteRdx);
        m.Cpu.Rflags = 0x202;
        m.Cpu.Rdi = 0;
        m.Cpu.Rdx = 0;
        if (arrivesWhileOff)
        {
            m.OnPortWrite = _ =>
            {
                m.Waiting.Enqueue(0x40);
                m.Cpu.Notify();
            };
        }

        RunToHalt(m);
        Assert.Equal(arrivesWhileOff ? (1ul, 1ul) : (0ul, 0ul), (m.Cpu.Rdi, arrivesWhileOff ? m.Cpu.Rsi : 0));
        Assert.Equal(2ul, m.Cpu.Rdx);
    }

    [Fact]
    public void Popfq_takes_a_waiting_interrupt_at_once()
    {
        using EmulationMachine m = Machine(
            a =>
            {
                a.cli();
                a.@out(0x80, al);
                a.mov(edx, 1);
                a.push(0x202);
                a.popfq();
                a.mov(edx, 2);
                a.hlt();
            },
            NoteRdx);
        m.Cpu.Rdi = 0;
        m.OnPortWrite = _ =>
        {
            m.Waiting.Enqueue(0x40);
            m.Cpu.Notify();
        };
        RunToHalt(m);
        Assert.Equal((1ul, 1ul, 2ul), (m.Cpu.Rdi, m.Cpu.Rsi, m.Cpu.Rdx));
    }

    [Fact]
    public void A_second_interrupt_waits_for_sti_in_the_first_ones_handler()
    {
        using EmulationMachine m = Machine(
            a =>
            {
                a.@out(0x80, al);
                a.sti();
                a.nop();
                a.cli();
                a.hlt();
            },
            a =>
            {
                Label done = a.CreateLabel();
                a.add(rdi, 1);
                a.cmp(rdi, 2);
                a.je(done);
                a.sti();
                a.mov(edx, 1);
                a.mov(edx, 2);
                a.iretq();
                a.Label(ref done);
                a.mov(rsi, rdx);
                a.iretq();
            });
        m.Cpu.Rdi = 0;
        m.Cpu.Rdx = 0;
        m.OnPortWrite = _ =>
        {
            m.Waiting.Enqueue(0x40);
            m.Waiting.Enqueue(0x40);
            m.Cpu.Notify();
        };
        RunToHalt(m);
        Assert.Equal((2ul, 1ul, 2ul), (m.Cpu.Rdi, m.Cpu.Rsi, m.Cpu.Rdx));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Addresses_wrap_at_a_mebibyte_while_line_20_is_closed(bool open)
    {
        using var m = new EmulationMachine(64);
        var a = new Assembler(64);
        a.mov(__dword_ptr[0x100100], 1); // Cached as it is.
        a.@out(0x92, al);
        a.mov(__dword_ptr[0x100100], 2);
        a.mov(eax, __dword_ptr[0x300100]);
        a.hlt();
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), 0x5000);
        stream.ToArray().CopyTo(m.Bytes(0x5000, (int)stream.Length));
        m[0x200100] = 7;
        m[0x100] = 0;
        m.OnPortWrite = port => m.Cpu.SetA20(open);
        m.Cpu.Rip = 0x5000;
        m.Cpu.Rflags = 2;
        Assert.Equal(VmExit.HaltedWithInterruptsDisabled, m.Go());
        Assert.Equal(open ? (2u, 0u) : (1u, 2u), ((uint)m[0x100100], (uint)m[0x100]));
        Assert.Equal(open ? 0ul : 7ul, m.Cpu.Rax);
    }

    [Fact]
    public void Sti_at_the_end_of_a_page_still_shadows_hlt()
    {
        using EmulationMachine m = Machine(a => a.sti(), NoteRdx, at: 0x5FFF - 0x1000);
        m.Bytes(0x5000, 1)[0] = 0xF4;
        m.Cpu.Rdi = 0;
        RunToHalt(m);
        Assert.Equal((0x5001ul, 0ul), (m.Cpu.Rip, m.Cpu.Rdi));
    }

    [Fact]
    public void Swapgs_and_bases_are_one_truth()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.swapgs();
            a.mov(rax, __qword_ptr.gs[8]);
            a.rdgsbase(r10);
            a.wrfsbase(r11);
            a.rdfsbase(edx);
            a.mov(rcx, __qword_ptr.fs[0]);
            a.hlt();
        });
        m.Cpu.Cr4 |= 1 << 16;
        m.Cpu.KernelGsBase = Data;
        m.Cpu.Gpr(11) = Data + 0x1000;
        m[Data + 8] = 0x1234;
        m[Data + 0x1000] = 0x5678;
        RunToHalt(m);
        Assert.Equal((0x1234ul, Data, Data + 0x1000, 0x5678ul), (m.Cpu.Rax, m.Cpu.Gpr(10), m.Cpu.Rdx, m.Cpu.Rcx));
        Assert.Equal((Data + 0x1000, Data, 0ul), (m.Cpu.Segments[4].Base, m.Cpu.Segments[5].Base, m.Cpu.KernelGsBase));
        Assert.Equal(0, m.Emulated("swapgs") + m.Emulated("wrfsbase") + m.Emulated("rdgsbase") + m.Emulated("rdfsbase"));
    }

    [Theory]
    [InlineData(false, 1ul << 47, 13)]
    [InlineData(true, 0ul, 6)]
    public void Bases_fault_as_the_emulator_says(bool disabled, ulong value, int vector)
    {
        using EmulationMachine m = Machine(a =>
        {
            a.wrgsbase(rax);
            a.hlt();
        });
        m.Cpu.Cr4 |= disabled ? 0 : 1ul << 16;
        m.Cpu.Rax = value;
        m.SetGate(vector, Handler + 0x900);
        m.Bytes(Handler + 0x900, 1)[0] = 0xF4;
        RunToHalt(m);
        Assert.Equal((Handler + 0x901, 0ul), (m.Cpu.Rip, m.Cpu.Segments[5].Base));
    }

    [Fact]
    public void The_counter_goes_on_in_one_scale()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.stc();
            a.rdtsc();
            a.setc(bl);
            a.mov(rsi, rax);
            a.mov(rdi, rdx);
            a.rdtscp();
            a.hlt();
        });
        m.Cpu.State->TscOffset = 0x1000000000000;
        m.Cpu.TscAux = 0xABC;
        ulong before = m.Cpu.ReadTsc();
        RunToHalt(m);
        ulong after = m.Cpu.ReadTsc();
        ulong first = (m.Cpu.Rdi << 32) | m.Cpu.Rsi;
        ulong second = (m.Cpu.Rdx << 32) | m.Cpu.Rax;
        Assert.True(before <= first && first <= second && second <= after);
        Assert.Equal((0xABCul, 1ul), (m.Cpu.Rcx, m.Cpu.Rbx & 1));
        Assert.Equal(0, m.Emulated("rdtsc") + m.Emulated("rdtscp"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Users_read_the_counter_unless_forbidden(bool forbidden)
    {
        using EmulationMachine m = Machine(a =>
        {
            a.rdtsc();
            a.ud2();
        });
        m.ToUser();
        m.Cpu.Cr4 |= forbidden ? 4ul : 0;
        m.SetGate(6, Handler + 0x900);
        m.Bytes(Handler + 0x900, 1)[0] = 0xF4;
        RunToHalt(m);
        Assert.Equal(forbidden ? Handler + 0x801 : Handler + 0x901, m.Cpu.Rip);
    }

    [Fact]
    public void Users_may_not_clear_interrupts()
    {
        using EmulationMachine m = Machine(a => a.cli());
        m.ToUser();
        RunToHalt(m);
        Assert.True(Faulted(m));
    }

    // SMAP, with the data of these tests marked as the user's.
    [Fact]
    public void Stac_opens_user_pages_to_the_next_instruction_and_clac_closes_them()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.stac();
            a.mov(rax, __[Data]);
            a.clac();
            a.mov(rbx, __[Data]);
            a.hlt();
        });

        // The code's own pages are the supervisor's.
        m[EmulationMachine.PageTables + 0x2000] = 0x83;
        m.Cpu.Cr4 |= 1 << 21;
        m.Cpu.Mmu.FlushAll();
        m.Cpu.ModeChanged();
        m[Data] = 0x4321;
        m.Cpu.Rbx = 0;
        RunToHalt(m);
        Assert.True(Faulted(m));
        Assert.Equal((0x4321ul, 0ul, Data), (m.Cpu.Rax, m.Cpu.Rbx, m.Cpu.Cr2));
        Assert.Equal(0, m.Emulated("stac") + m.Emulated("clac"));
    }

    [Fact]
    public void The_mode_follows_stac_out_of_a_block()
    {
        using EmulationMachine m = Machine(a =>
        {
            Label away = a.CreateLabel();
            Label back = a.CreateLabel();
            a.stac();
            a.jmp(away);
            a.Label(ref back);
            a.mov(rcx, __[Data + 8]);
            a.hlt();
            a.Label(ref away);
            a.mov(rax, __[Data]);
            a.clac();
            a.jmp(back);
        });
        m[EmulationMachine.PageTables + 0x2000] = 0x83;
        m.Cpu.Cr4 |= 1 << 21;
        m.Cpu.Mmu.FlushAll();
        m.Cpu.ModeChanged();
        m[Data] = 0x4321;
        m.Cpu.Rcx = 5;
        RunToHalt(m);
        Assert.True(Faulted(m));
        Assert.Equal((0x4321ul, 5ul, Data + 8), (m.Cpu.Rax, m.Cpu.Rcx, m.Cpu.Cr2));
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 1)]
    [InlineData(7, 7)]
    public void Loop_and_jrcxz_count(int count, int rounds)
    {
        using EmulationMachine m = Machine(a =>
        {
            Label loop = a.CreateLabel();
            Label zero = a.CreateLabel();
            a.xor(eax, eax);
            a.jrcxz(zero);
            a.Label(ref loop);
            a.inc(eax);
            a.loop(loop);
            a.hlt();
            a.Label(ref zero);
            a.inc(eax);
            a.hlt();
        });
        m.Cpu.Rcx = (ulong)count;
        RunToHalt(m);
        Assert.Equal(((ulong)rounds, 0ul), (m.Cpu.Rax, m.Cpu.Rcx));
        Assert.Equal(0, m.Emulated("jrcxz") + m.Emulated("loop"));
    }

    // 32 MiB apart, where source and destination share their places in the translation tables.
    [Fact]
    public void Source_and_destination_may_share_a_translations_place()
    {
        using EmulationMachine m = Machine(a =>
        {
            a.rep.movsb();
            a.hlt();
        });
        const ulong Alias = 17ul << 21;
        m[EmulationMachine.PageTables + 0x2000 + (17 * 8)] = Data | 0x83;
        m.Cpu.Mmu.FlushAll();
        m.Bytes(Data, 16).Fill(9);
        m.Cpu.Rsi = Data;
        m.Cpu.Rdi = Alias + 16;
        m.Cpu.Rcx = 16;
        RunToHalt(m);
        Assert.Equal((0ul, 0x0909090909090909ul), (m.Cpu.Rcx, m[Data + 24]));
    }
}
