using System.Buffers.Binary;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Translation.Direct;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>What direct execution must keep to: page tables, traps, kicks, and what must not run there. See also the conformance tests.</summary>
public sealed class DirectExecutionTests
{
    private const ulong Data = DirectMachine.Data;

    [Fact]
    public void A_program_computes_in_its_own_memory() => Directly(machine =>
    {
        machine.Assemble(c =>
        {
            Label loop = c.CreateLabel();
            c.mov(rsi, Data);
            c.xor(eax, eax);
            c.mov(ecx, 1000);
            c.Label(ref loop);
            c.add(rax, rcx);
            c.mov(__qword_ptr[rsi + (rcx * 8)], rax);
            c.dec(ecx);
            c.jnz(loop);
            c.movq(xmm3, rax);
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(500_500ul, machine.Cpu.Rax);
        Assert.Equal(500_500ul, machine[DirectMachine.DataGpa + 8]);
        Assert.Equal(1000ul, machine[DirectMachine.DataGpa + 8000]);
        Assert.InRange(machine.Entries, 1, 20);
    });

    [Fact]
    public void System_calls_leave_what_SYSCALL_leaves() => Directly(machine =>
    {
        machine.Assemble(c =>
        {
            c.mov(eax, 39);
            c.stc();
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(39ul, machine.Cpu.Rax);
        Assert.Equal(DirectMachine.Code + 8, machine.Cpu.Rcx);
        Assert.Equal(0x203ul, machine.Cpu.Gpr(11));
    });

    [Theory]
    [InlineData("CC", 3, 1)]
    [InlineData("CD03", 3, 2)]
    [InlineData("CD80", 0x80, 2)]
    [InlineData("CD40", 0x40, 2)]
    [InlineData("0F0B", 6, 0)]
    [InlineData("F4", 13, 0)]
    [InlineData("31C9F7F1", 0, 2)]
    [InlineData("48BE0000C0F7FF7F0000C7067B030000D92ED9EED9E8D8F10FFCC1", 16, 24)]
    [InlineData("48BE0000C0F7FF7F0000C7067B030000D92ED9EED9E8D8F131C00F6F00", 16, 26)]
    public void Traps_come_with_their_own_RIP(string code, int vector, ulong advance) => Directly(machine =>
    {
        machine.Write(Convert.FromHexString(code));
        Assert.Equal(vector, machine.Run());
        Assert.Equal(DirectMachine.Code + advance, machine.Frame(4));
    });

    [Theory]
    [InlineData("CE", 0xFFF, 6, 0)]
    [InlineData("0F0B", 0xFFF, 6, 0)]
    [InlineData("0F0B", 0xFFE, 6, 0)]
    [InlineData("CD04", 0xFFF, 4, 2)]
    [InlineData("CC", 0xFFF, 3, 1)]
    public void Traps_at_a_pages_end_come_once(string code, ulong offset, int vector, ulong advance) => Directly(machine =>
    {
        machine.Write(Convert.FromHexString(code), offset);
        using Timer timer = new(_ => machine.Cpu.Kick(), null, 5000, Timeout.Infinite);
        for (int run = 0; run < 2; run++)
        {
            Assert.Equal(vector, machine.Run(offset));
            Assert.Equal(DirectMachine.Code + offset + advance, machine.Frame(4));

            // What is known of the second page must then be looked up anew.
            machine.Cpu.Mmu.LoadPageTables(machine.Cpu.Cr3, keep: false);
        }
    });

    [Theory]
    [InlineData(DirectMode.Off)]
    [InlineData(DirectMode.Always)]
    public void A_step_over_a_pages_end_is_one_step(DirectMode mode) => Directly(mode, machine =>
    {
        // The trap flag, set by a POPF that ends 2 bytes before the page does, steps over the MOV after it.
        const ulong Begin = 0xFEE;
        machine.Assemble(Begin, c =>
        {
            c.mov(rsp, Data + 0x800);
            c.push(0x302);
            c.popfq();
            c.mov(eax, 0x1234);
            c.syscall();
        });
        for (int run = 0; run < 3; run++)
        {
            machine.Cpu.Rax = 0;
            Assert.Equal(1, machine.Run(Begin));
            Assert.Equal(DirectMachine.Code + 0x1003, machine.Frame(4));
            Assert.Equal(0x1234ul, machine.Cpu.Rax);
            machine.Cpu.Mmu.LoadPageTables(machine.Cpu.Cr3, keep: false);
        }
    });

    [Fact]
    public void Code_and_its_constants_may_share_a_large_page() => Directly(machine =>
    {
        const ulong Whole = 0x4000_0000;
        machine.ShowWhole(Whole);
        machine[DirectMachine.DataGpa] = 0x1234;

        // mov rax, [rip + 0xFFF9]; syscall
        machine.Write(Convert.FromHexString("488B05F9FF00000F05"));
        using Timer timer = new(_ => machine.Cpu.Kick(), null, 5000, Timeout.Infinite);
        Assert.Equal(-1, machine.Run(unchecked(Whole + DirectMachine.CodeGpa - DirectMachine.Code)));
        Assert.Equal(0x1234ul, machine.Cpu.Rax);
        Assert.InRange(machine.Entries, 1, 20);
    });

    [Fact]
    public void Accessed_and_dirty_bits_are_set_by_what_happens() => Directly(machine =>
    {
        machine.Assemble(c =>
        {
            c.mov(rsi, Data);
            c.mov(rax, __qword_ptr[rsi]);
            c.mov(__qword_ptr[rsi + 0x1000], rax);
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(0x20ul, machine.Entry(Data) & 0x60);
        Assert.Equal(0x60ul, machine.Entry(Data + 0x1000) & 0x60);
        Assert.Equal(0ul, machine.Entry(Data + 0x2000) & 0x60);
    });

    [Fact]
    public void A_flushed_page_is_looked_up_anew() => Directly(machine =>
    {
        machine[DirectMachine.DataGpa] = 1;
        machine[DirectMachine.DataGpa + 0x5000] = 2;
        machine.Assemble(c =>
        {
            c.mov(rsi, Data);
            c.mov(rax, __qword_ptr[rsi]);
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(1ul, machine.Cpu.Rax);
        machine.Entry(Data) = (DirectMachine.DataGpa + 0x5000) | 7;
        machine.Cpu.Mmu.FlushPage(Data);
        Assert.Equal(-1, machine.Run());
        Assert.Equal(2ul, machine.Cpu.Rax);
        machine.Entry(Data) = DirectMachine.DataGpa | 7;
        machine.Cpu.Mmu.LoadPageTables(machine.Cpu.Cr3, keep: false);
        Assert.Equal(-1, machine.Run());
        Assert.Equal(1ul, machine.Cpu.Rax);
    });

    [Fact]
    public void Rights_taken_away_fault_exactly() => Directly(machine =>
    {
        machine.Assemble(c =>
        {
            c.mov(rsi, Data + 0x123);
            c.mov(__byte_ptr[rsi], 5);
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        machine.Entry(Data) &= ~2ul;
        machine.Cpu.Mmu.FlushPage(Data);
        Assert.Equal(14, machine.Run());
        Assert.Equal(Data + 0x123, machine.Cpu.Cr2);
        Assert.Equal(7ul, machine.Frame(5));
        machine.Entry(Data) = 0;
        machine.Cpu.Mmu.FlushPage(Data);
        Assert.Equal(14, machine.Run());
        Assert.Equal(6ul, machine.Frame(5));
        machine.Entry(Data) = DirectMachine.DataGpa | 3;
        machine.Cpu.Mmu.FlushPage(Data);
        Assert.Equal(14, machine.Run());
        Assert.Equal(7ul, machine.Frame(5));
    });

    [Fact]
    public void Data_is_not_executed() => Directly(machine =>
    {
        machine.Entry(Data) |= 1ul << 63;
        machine.Assemble(c =>
        {
            c.mov(rsi, Data);
            c.mov(__word_ptr[rsi], 0x050F);
            c.jmp(rsi);
        });
        Assert.Equal(14, machine.Run());
        Assert.Equal(0x15ul, machine.Frame(5));
        Assert.Equal(Data, machine.Cpu.Cr2);
    });

    [Fact]
    public void A_program_that_writes_its_code_runs_what_it_wrote() => Directly(machine =>
    {
        machine.Entry(DirectMachine.Code) |= 2;

        // mov ecx, 3; xor edx, edx; again: inc byte [rip+2]; add edx, 10 (whose 10 that was); dec ecx; jnz again; syscall
        machine.Write(Convert.FromHexString("B90300000031D2FE050200000083C20AFFC975F30F05"));
        Assert.Equal(-1, machine.Run());
        Assert.Equal(36ul, machine.Cpu.Rdx);
    });

    [Fact]
    public void The_program_not_seen_for_longest_is_forgotten_first() => Directly(machine =>
    {
        const int seenAgain = 40; // More than have a process, which are not forgotten.
        machine.Assemble(a => a.syscall());
        for (int i = 0; i < DirectPrograms.MaxKnown; i++)
        {
            Assert.Equal(-1, machine.RunAs(i));
        }

        for (int i = 0; i < seenAgain; i++)
        {
            Assert.Equal(-1, machine.RunAs(i));
        }

        Assert.Equal(-1, machine.RunAs(DirectPrograms.MaxKnown));
        Assert.Equal(
            [seenAgain],
            Enumerable.Range(0, DirectPrograms.MaxKnown + 1).Where(i => !machine.Cpu.Direct!.Knows(DirectMachine.RootOf(i))));
    });

    [Fact]
    public void The_host_is_not_seen() => OwnThread.Run(() =>
    {
        static ulong[] Look(DirectMachine machine)
        {
            machine.Assemble(c =>
            {
                c.mov(rsi, Data);
                foreach (int leaf in (ReadOnlySpan<int>)[0, 1, 7, 0xB, unchecked((int)0x80000008)])
                {
                    c.mov(eax, leaf);
                    c.mov(ecx, 0);
                    c.cpuid();
                    c.mov(__dword_ptr[rsi], eax);
                    c.mov(__dword_ptr[rsi + 4], ebx);
                    c.mov(__dword_ptr[rsi + 8], ecx);
                    c.mov(__dword_ptr[rsi + 12], edx);
                    c.add(rsi, 16);
                }

                c.sgdt(__[rsi]);
                c.sidt(__[rsi + 16]);
                c.str(r8d);
                c.sldt(r9d);
                c.mov(r10d, 0x33);
                c.lsl(r11d, r10d);
                c.mov(__qword_ptr[rsi + 32], r8);
                c.mov(__qword_ptr[rsi + 40], r9);
                c.mov(__qword_ptr[rsi + 48], r11);
                c.syscall();
            });
            Assert.Equal(-1, machine.Run());
            return [.. Enumerable.Range(0, 18).Select(i => machine[DirectMachine.DataGpa + ((ulong)i * 8)])];
        }

        using DirectMachine translated = new(DirectMode.Off);
        using DirectMachine direct = new();
        Assert.Equal(Look(translated), Look(direct));
        Assert.Equal(0, direct.Entries);
    });

    [Fact]
    public unsafe void The_clock_is_the_guests() => Directly(machine =>
    {
        machine.Cpu.State->TscOffset = 1ul << 60;
        machine.Assemble(c =>
        {
            c.rdtsc();
            c.shl(rdx, 32);
            c.or(rax, rdx);
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.InRange(machine.Cpu.Rax, 1ul << 60, machine.Cpu.ReadTsc());

        // Directly where the host lets RDTSC stop a process; where it does not, its page runs translated.
        Assert.Equal(machine.Cpu.Direct!.HidesClock, machine.Entries > 0);
    });

    [Fact]
    public void The_processor_is_the_guests() => Directly(machine =>
    {
        machine.Assemble(c =>
        {
            c.mov(eax, 0x4000_0000);
            c.cpuid();
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(BinaryPrimitives.ReadUInt32LittleEndian("YadokariYado"u8), machine.Cpu.Rbx);

        // Directly where the host lets CPUID stop a process; where it does not, its page runs translated.
        Assert.Equal(machine.Cpu.Direct!.HidesProcessor, machine.Entries > 0);
    });

    [Fact]
    public void A_kick_ends_an_endless_loop() => Directly(machine =>
    {
        machine.Assemble(c => c.jmp(DirectMachine.Code));
        using Timer timer = new(_ => machine.Cpu.Kick(), null, 50, Timeout.Infinite);
        Assert.Equal(VmExit.Kicked, machine.RunToExit());
        Assert.Equal(DirectMachine.Code, machine.Cpu.Rip);
    });

    [Fact]
    public void An_interrupt_ends_an_endless_loop() => Directly(machine =>
    {
        machine.Assemble(c => c.jmp(DirectMachine.Code));
        using Timer timer = new(_ => machine.Interrupt(), null, 50, Timeout.Infinite);
        Assert.Equal(64, machine.Run());
        Assert.Equal(DirectMachine.Code, machine.Frame(4));
    });

    [Fact]
    public void Flags_and_bases_come_back() => Directly(machine =>
    {
        machine.Assemble(c =>
        {
            c.mov(rsp, Data + 0x800);
            c.push(0x0020_0ED7);
            c.popfq();
            c.mov(rax, Data + 0x100);
            c.wrfsbase(rax);
            c.mov(rbx, __qword_ptr.fs[8]);
            c.syscall();
        });
        machine[DirectMachine.DataGpa + 0x108] = 77;
        Assert.Equal(-1, machine.Run());
        Assert.Equal(0x0020_0ED7ul & ~0x100ul, machine.Cpu.Gpr(11));
        Assert.Equal(77ul, machine.Cpu.Rbx);
        Assert.Equal(Data + 0x100, machine.Cpu.Segments[4].Base);
    });

    [Fact]
    public unsafe void Control_of_vectors_comes_and_goes_while_they_are_all_clear() => Directly(machine =>
    {
        // XSTATE_BV says that there is nothing in the vector registers.
        *(uint*)(machine.Cpu.XsaveArea + 24) = 0x1FA5;
        *(ulong*)(machine.Cpu.XsaveArea + 512) = 0;
        machine.Assemble(c =>
        {
            c.mov(rsi, Data);
            c.stmxcsr(__dword_ptr[rsi]);
            c.mov(__dword_ptr[rsi + 8], 0x1FC0);
            c.ldmxcsr(__dword_ptr[rsi + 8]);
            c.xorps(xmm0, xmm0);
            c.syscall();
        });
        Assert.Equal(-1, machine.Run());
        Assert.Equal(0x1FA5ul, machine[DirectMachine.DataGpa]);
        Assert.Equal(0x1FC0u, *(uint*)(machine.Cpu.XsaveArea + 24));
        Assert.Equal(0ul, *(ulong*)(machine.Cpu.XsaveArea + 160));
    });

    [Theory]
    [InlineData("0F01D0", false)] // xgetbv
    [InlineData("0F0100", false)] // sgdt [rax]
    [InlineData("F30FC7F8", false)] // rdpid rax
    [InlineData("0F03C1", false)] // lsl eax, ecx
    [InlineData("0F01CA", true)] // clac: privileged, traps
    [InlineData("0FC7F0", true)] // rdrand eax
    [InlineData("0F31", true)] // rdtsc: traps
    [InlineData("0FA2", true)] // cpuid: traps
    [InlineData("B80FA20000", true)] // mov eax, 0xA20F
    [InlineData("0F05", true)] // syscall
    public void Pages_that_show_the_host_are_told_from_others(string code, bool innocuous)
    {
        Assert.Equal(innocuous, IsInnocuous(code, 2000, out _));
    }

    [Fact]
    public void An_instruction_across_pages_is_looked_at_whole()
    {
        Assert.True(IsInnocuous("0F", 4095, out int tail));
        Assert.Equal(4095, tail);
        Assert.False(Continues("0F", 4095, tail, "01D0"));
        Assert.True(Continues("0F", 4095, tail, "05"));
        Assert.True(IsInnocuous("90", 4095, out tail));
        Assert.Equal(4096, tail);
    }

    [Fact]
    public unsafe void Where_a_pages_first_instruction_begins_decides()
    {
        // SLDT [rax], or the end of an instruction that began on the page before: mov eax, 0x0F000000 and then add [rax], al.
        byte[] page = Page("0F0000", 0);
        fixed (byte* start = page)
        {
            UserCode scan = new();
            Assert.Equal(UserCode.Doubtful, scan.Scan(start));
            Assert.Equal(UserCode.Sensitive, scan.Scan(start, 0));
            Assert.Equal(4096, scan.Scan(start, 1));
        }
    }

    [Fact]
    public unsafe void Decoding_that_is_out_of_step_overlooks_no_CPUID()
    {
        // The end of a table among code: add [rax + 0x...], al takes the instruction for its displacement.
        byte[] page = Page("00800FA2", 2000);
        fixed (byte* start = page)
        {
            Assert.Equal(UserCode.Sensitive, new UserCode { HidesProcessor = false }.Scan(start));
        }
    }

    [Fact]
    public void Bytes_of_XGETBV_that_belong_to_two_instructions_make_no_page_sensitive()
        => Assert.True(IsInnocuous("C1C50F01D0", 2000, out _)); // rol ebp, 15 and add eax, edx, as in SHA-256.

    private static unsafe bool IsInnocuous(string code, int at, out int tail)
    {
        byte[] page = Page(code, at);
        fixed (byte* start = page)
        {
            tail = new UserCode().Scan(start);
            return tail >= 0;
        }
    }

    private static unsafe bool Continues(string code, int at, int tail, string next)
    {
        byte[] first = Page(code, at);
        byte[] second = Page(next, 0);
        fixed (byte* a = first, b = second)
        {
            return new UserCode().Continues(a, tail, b);
        }
    }

    private static byte[] Page(string code, int at)
    {
        byte[] page = new byte[4096];
        Array.Fill(page, (byte)0x90);
        Convert.FromHexString(code).CopyTo(page, at);
        return page;
    }

    private static void Directly(Action<DirectMachine> test) => Directly(DirectMode.Always, test);

    private static void Directly(DirectMode mode, Action<DirectMachine> test) => OwnThread.Run(() =>
    {
        Support support = TranslationEngine.ProbeDirect();
        Assert.SkipUnless(support.Available, support.Reason);
        using DirectMachine machine = new(mode);
        test(machine);
    });
}
