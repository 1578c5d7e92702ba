using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Yadokari.Translation.Tests.InlineTests;

namespace Yadokari.Translation.Tests;

/// <summary>
/// PCIDs, global pages and what flushes them (SDM 3A 4.10.4), seen by a guest that changes its page tables behind the TLB's back. Space 1
/// and space 2 are page tables of PCIDs 1 and 2 that differ in the second 2 MiB.
/// </summary>
public sealed class AddressSpaceTests
{
    private const ulong Data = EmulationMachine.Data;
    private const ulong Descriptor = 0x9100;
    private const ulong Space1 = EmulationMachine.PageTables;
    private const ulong Space2 = EmulationMachine.PageTables + 0x10000;
    private const ulong Table1 = Space1 + 0x3000;
    private const ulong Table2 = Space2 + 0x3000;
    private const ulong Keep = 1ul << 63;
    private const ulong Global = 0x100;
    private const int Pge = 1 << 7;
    private const int Pcide = 1 << 17;

    private static EmulationMachine TwoSpaces(Action<Assembler> write)
    {
        EmulationMachine m = Machine(write);
        for (ulong at = 0; at < 0x4000; at += 8)
        {
            ulong entry = m[Space1 + at];
            m[Space2 + at] = at is 0 or 0x1000 or 0x2008 ? entry + 0x10000 : entry;
        }

        m[Descriptor + 8] = Data;
        m.Cpu.Cr4 |= Pge | Pcide;
        m.Cpu.Cr3 = Space1 | 1;
        m.Cpu.Mmu.FlushAll();
        m.Cpu.ModeChanged();
        return m;
    }

    // The data page of space 1 is at its place and then at another one, that of space 2 at a third.
    private static EmulationMachine Data3(Action<Assembler> write, ulong rights = 7)
    {
        EmulationMachine m = TwoSpaces(write);
        m[Table1] = Data | rights;
        m[Table2] = (Data + 0x4000) | 7;
        m[Data] = 0x11;
        m[Data + 0x4000] = 0x22;
        m[Data + 0x5000] = 0x33;
        return m;
    }

    private static void Turn(Assembler a, ulong to)
    {
        a.mov(rax, to);
        a.mov(cr3, rax);
    }

    private static void InvalidatePcid(Assembler a, int type, ulong pcid)
    {
        a.mov(ebx, (uint)Descriptor);
        a.mov(rax, pcid);
        a.mov(__[rbx], rax);
        a.mov(eax, type);
        a.invpcid(rax, __[rbx]);
    }

    private static void Toggle(Assembler a, int bit)
    {
        a.mov(rax, cr4);
        a.xor(eax, bit);
        a.mov(cr4, rax);
        a.xor(eax, bit);
        a.mov(cr4, rax);
    }

    // What the guest does in space 2 while the entry of space 1 changes unseen.
    private static void Do(Assembler a, string what)
    {
        switch (what)
        {
            case "nothing":
                break;
            case "its CR3":
                Turn(a, Space2 | 2);
                break;
            case "invlpg":
                a.mov(ebx, (uint)Data);
                a.invlpg(__[rbx]);
                break;
            case "page of 1":
                InvalidatePcid(a, 0, 1);
                break;
            case "page of 2":
                InvalidatePcid(a, 0, 2);
                break;
            case "other page of 1":
                a.mov(rax, Data + 0x1000);
                a.mov(ebx, (uint)Descriptor);
                a.mov(__[rbx + 8], rax);
                InvalidatePcid(a, 0, 1);
                break;
            case "all of 1":
                InvalidatePcid(a, 1, 1);
                break;
            case "all of 2":
                InvalidatePcid(a, 1, 2);
                break;
            case "everything":
                InvalidatePcid(a, 2, 0);
                break;
            case "all but global":
                InvalidatePcid(a, 3, 0);
                break;
            case "PGE":
                Toggle(a, Pge);
                break;
            case "PCIDE":
                Turn(a, Space2);
                Toggle(a, Pcide);
                break;
            default:
                throw new ArgumentException(what);
        }
    }

    [Theory]
    [InlineData("nothing", true, true)]
    [InlineData("its CR3", true, true)]
    [InlineData("invlpg", true, false)]
    [InlineData("page of 1", false, false)]
    [InlineData("page of 2", true, true)]
    [InlineData("other page of 1", true, true)]
    [InlineData("all of 1", false, true)]
    [InlineData("all of 2", true, true)]
    [InlineData("everything", false, false)]
    [InlineData("all but global", false, true)]
    [InlineData("PGE", false, false)]
    [InlineData("PCIDE", false, false)]
    public void Translations_of_another_pcid_stay_until_they_are_flushed(string what, bool localStays, bool globalStays)
    {
        foreach (bool global in (ReadOnlySpan<bool>)[false, true])
        {
            using EmulationMachine m = Data3(
                a =>
                {
                    a.mov(r8, __[Data]);
                    Turn(a, Space2 | 2);
                    a.mov(r9, __[Data]);
                    a.mov(rax, (Data + 0x5000) | 7 | (global ? Global : 0));
                    a.mov(__qword_ptr[Table1], rax);
                    Do(a, what);
                    Turn(a, Space1 | 1 | Keep);
                    a.mov(r10, __[Data]);
                    Turn(a, Space1 | 1);
                    a.mov(r11, __[Data]);
                    a.hlt();
                },
                7 | (global ? Global : 0));
            RunToHalt(m);
            bool stays = global ? globalStays : localStays;
            Assert.Equal((0x11ul, 0x22ul, stays ? 0x11ul : 0x33), (m.Cpu.Gpr(8), m.Cpu.Gpr(9), m.Cpu.Gpr(10)));
            Assert.Equal(stays && global ? 0x11ul : 0x33, m.Cpu.Gpr(11));
            Assert.Equal(Space1 | 1, m.Cpu.Cr3);
        }
    }

    [Fact]
    public void Without_pcids_every_write_of_cr3_drops_what_is_not_global()
    {
        using EmulationMachine m = Data3(a =>
        {
            a.mov(r8, __[Data]);
            a.mov(rax, (Data + 0x5000) | 7);
            a.mov(__qword_ptr[Table1], rax);
            a.mov(r9, __[Data]);
            Turn(a, Space1);
            a.mov(r10, __[Data]);
            a.hlt();
        });
        m.Cpu.Cr3 = Space1;
        m.Cpu.Cr4 &= ~(ulong)Pcide;
        m.Cpu.Mmu.FlushAll();
        RunToHalt(m);
        Assert.Equal((0x11ul, 0x11ul, 0x33ul), (m.Cpu.Gpr(8), m.Cpu.Gpr(9), m.Cpu.Gpr(10)));
    }

    // More PCIDs than the engine keeps: those used longest ago are forgotten, never mistaken.
    [Fact]
    public void Many_pcids_never_see_each_others_pages()
    {
        using EmulationMachine m = Data3(a =>
        {
            Label next = a.CreateLabel();
            a.mov(ecx, 60);
            a.xor(r8d, r8d);
            a.Label(ref next);

            // Odd PCIDs have the tables of space 1, even ones those of space 2; each is met three times.
            a.mov(eax, ecx);
            a.xor(edx, edx);
            a.mov(ebx, 20);
            a.div(ebx);
            a.lea(eax, __[rdx + 1]);
            a.and(edx, 1);
            a.shl(edx, 16);
            a.lea(rax, __[rax + rdx + (long)Space1]);
            a.bts(rax, 63);
            a.mov(cr3, rax);
            a.shr(edx, 16);
            a.mov(r9, __[Data]);
            a.imul(edx, edx, 0x11);
            a.add(edx, 0x11);
            a.cmp(r9, rdx);
            a.setne(al);
            a.movzx(eax, al);
            a.add(r8d, eax);
            a.dec(ecx);
            a.jnz(next);
            a.hlt();
        });
        m.Cpu.Gpr(8) = 99;
        RunToHalt(m);
        Assert.Equal(0ul, m.Cpu.Gpr(8));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Code_at_one_address_is_that_of_the_address_space(bool indirect)
    {
        using EmulationMachine m = Data3(a =>
        {
            Label next = a.CreateLabel();
            a.mov(ecx, 9);
            a.xor(r8d, r8d);
            a.mov(rdi, Data + 0x10);
            a.Label(ref next);
            Turn(a, Space1 | 1 | Keep);
            Call(a);
            Turn(a, Space2 | 2 | Keep);
            Call(a);
            a.dec(ecx);
            a.jnz(next);

            // And after the page of space 1 was changed for another.
            a.mov(rax, (Data + 0x5000) | 7);
            a.mov(__qword_ptr[Table1], rax);
            Turn(a, Space1 | 1);
            Call(a);
            a.hlt();
        });

        void Call(Assembler a)
        {
            if (indirect)
            {
                a.call(rdi);
            }
            else
            {
                a.call(Data + 0x10);
            }
        }

        Put(m, Data + 0x10, a =>
        {
            a.add(r8d, 1);
            a.ret();
        });
        Put(m, Data + 0x4010, a =>
        {
            a.add(r8d, 0x100);
            a.ret();
        });
        Put(m, Data + 0x5010, a =>
        {
            a.add(r8d, 0x10000);
            a.ret();
        });
        RunToHalt(m);
        Assert.Equal(0x10909ul, m.Cpu.Gpr(8));
    }

    [Theory]
    [InlineData(7ul)]
    [InlineData(7 | Global)]
    public void An_instruction_across_pages_is_that_of_the_address_space(ulong rights)
    {
        using EmulationMachine m = TwoSpaces(a =>
        {
            Label next = a.CreateLabel();
            a.mov(ecx, 9);
            a.mov(rdi, Data + 0x3FFD);
            a.Label(ref next);
            Turn(a, Space1 | 1 | Keep);
            a.call(rdi);
            a.mov(r8, rax);
            Turn(a, Space2 | 2 | Keep);
            a.call(rdi);
            a.mov(r9, rax);
            a.dec(ecx);
            a.jnz(next);
            a.hlt();
        });

        // MOV EAX, imm32 and RET, of which two bytes stand in the first page.
        m[Table1 + (3 * 8)] = (Data + 0x3000) | rights;
        m[Table1 + (4 * 8)] = (Data + 0x4000) | 7;
        m[Table2 + (3 * 8)] = (Data + 0x3000) | rights;
        m[Table2 + (4 * 8)] = (Data + 0x5000) | 7;
        ((ReadOnlySpan<byte>)[0xB8, 0x78, 0x56]).CopyTo(m.Bytes(Data + 0x3FFD, 3));
        ((ReadOnlySpan<byte>)[0x34, 0x12, 0xC3]).CopyTo(m.Bytes(Data + 0x4000, 3));
        ((ReadOnlySpan<byte>)[0xCD, 0xAB, 0xC3]).CopyTo(m.Bytes(Data + 0x5000, 3));
        RunToHalt(m);
        Assert.Equal((0x12345678ul, 0xABCD5678ul), (m.Cpu.Gpr(8), m.Cpu.Gpr(9)));
    }

    [Fact]
    public void An_instruction_into_a_global_page_runs_on_when_there_are_no_global_pages_any_more()
    {
        using EmulationMachine m = TwoSpaces(a =>
        {
            a.mov(rdi, Data + 0x3FFD);
            a.call(rdi);
            a.mov(r8, rax);
            a.mov(rax, cr4);
            a.xor(eax, Pge);
            a.mov(cr4, rax);
            a.call(rdi);
            a.mov(r9, rax);
            a.mov(rax, (Data + 0x5000) | 7);
            a.mov(__qword_ptr[Table1 + (4 * 8)], rax);
            Turn(a, Space1 | 1);
            a.call(rdi);
            a.hlt();
        });
        m[Table1 + (3 * 8)] = (Data + 0x3000) | 7 | Global;
        m[Table1 + (4 * 8)] = (Data + 0x4000) | 7 | Global;
        ((ReadOnlySpan<byte>)[0xB8, 0x78, 0x56]).CopyTo(m.Bytes(Data + 0x3FFD, 3));
        ((ReadOnlySpan<byte>)[0x34, 0x12, 0xC3]).CopyTo(m.Bytes(Data + 0x4000, 3));
        ((ReadOnlySpan<byte>)[0xCD, 0xAB, 0xC3]).CopyTo(m.Bytes(Data + 0x5000, 3));
        RunToHalt(m);
        Assert.Equal((0x12345678ul, 0x12345678ul, 0xABCD5678ul), (m.Cpu.Gpr(8), m.Cpu.Gpr(9), m.Cpu.Rax));
    }

    // What was noted of code's whereabouts must outlive the death of other code.
    [Theory]
    [InlineData(7ul)]
    [InlineData(7 | Global)]
    public void A_flushed_page_is_looked_at_again_after_other_code_died(ulong rights)
    {
        using EmulationMachine m = Data3(
            a =>
            {
                a.xor(r8d, r8d);
                a.mov(rdi, Data + 0x10);
                a.mov(rsi, Data + 0x1010);
                a.call(rdi);
                a.call(rsi);
                a.mov(__byte_ptr[Data + 0x1010], 0xC3);
                a.call(rsi);
                a.call(rdi);
                a.mov(rax, (Data + 0x5000) | rights);
                a.mov(__qword_ptr[Table1], rax);
                a.mov(ebx, (uint)Data);
                a.invlpg(__[rbx]);
                a.call(rdi);
                a.hlt();
            },
            rights);
        foreach ((ulong at, int add) in (ReadOnlySpan<(ulong, int)>)[(Data + 0x10, 1), (Data + 0x5010, 0x100), (Data + 0x1010, 0x10000)])
        {
            Put(m, at, a =>
            {
                a.add(r8d, add);
                a.ret();
            });
        }

        RunToHalt(m);
        Assert.Equal(0x10102ul, m.Cpu.Gpr(8));
    }

    [Fact]
    public void Code_written_in_one_address_space_is_new_in_all()
    {
        using EmulationMachine m = TwoSpaces(a =>
        {
            a.xor(r8d, r8d);
            a.mov(rdi, Data + 0x10);
            a.call(rdi);
            Turn(a, Space2 | 2 | Keep);
            a.call(rdi);

            // The last four bytes of ADD R8D, imm32.
            a.mov(__dword_ptr[Data + 0x13], 0x100);
            a.call(rdi);
            Turn(a, Space1 | 1 | Keep);
            a.call(rdi);
            a.hlt();
        });
        Put(m, Data + 0x10, a =>
        {
            a.add(r8d, 0x12345);
            a.ret();
        });
        RunToHalt(m);
        Assert.Equal(0x2468Aul + 0x200, m.Cpu.Gpr(8));
    }
}
