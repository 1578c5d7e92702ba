using Iced.Intel;
using Yadokari.Core.Engines;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>Blocks whose accesses share checks, with all kinds of instructions between them.</summary>
public sealed unsafe class SharingTests
{
    private const ulong Code = 0x5000;
    private const ulong Data = EmulationMachine.Data;

    /// <summary>Runs the code twice, the second time without a miss, from equal memory.</summary>
    private static void Run(EmulationMachine m, Action<Assembler> code)
    {
        var a = new Assembler(64);
        code(a);
        a.hlt();
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), Code);
        stream.ToArray().CopyTo(m.Bytes(Code, (int)stream.Length));
        byte[] memory = m.Bytes(Data, 0x2000).ToArray();
        for (int i = 0; i < 2; i++)
        {
            memory.CopyTo(m.Bytes(Data, 0x2000));
            m.Cpu.Rip = Code;
            m.Cpu.Rsp = 0x8000;
            VmExit exit = VmExit.Shutdown;
            var thread = new Thread(() => exit = m.Go());
            thread.Start();
            thread.Join();
            Assert.True(exit is VmExit.Halted or VmExit.HaltedWithInterruptsDisabled);
        }
    }

    private static EmulationMachine Machine()
    {
        var m = new EmulationMachine(64);
        for (ulong at = 0; at < 0x2000; at += 8)
        {
            m[Data + at] = 0x1000_0000 + at;
        }

        return m;
    }

    [Theory]
    [InlineData(0x100, 0x200)]
    [InlineData(0xFF8, 0x200)]
    [InlineData(0xFF0, 0xFF0)]
    public void Structures_reached_by_turns(int first, int second)
    {
        // Where a structure crosses a page, the same code goes step by step.
        using EmulationMachine m = Machine();
        m.Cpu.Rsi = Data + (ulong)second;
        m.Cpu.Gpr(15) = Data + 0x700;
        Run(m, a =>
        {
            a.mov(rbx, Data + (ulong)first);
            a.mov(rax, __qword_ptr[rbx]);
            a.mov(rcx, __qword_ptr[rsi + 8]);
            a.push(rax);
            a.mov(rdx, __qword_ptr[r15]);
            a.mov(__qword_ptr[rbx + 0x18], rcx);
            a.add(rbx, 8);
            a.lea(r10, __[rdx + rcx]);
            a.mov(r11, __qword_ptr[rsi]);
            a.xchg(r10, r11);
            a.add(r10, __qword_ptr[rbx]);
            a.push(r10);
            a.mov(rdi, __qword_ptr[r15 + 8]);
            a.pop(r8);
            a.pop(r9);
            a.mov(rax, __qword_ptr[rsi + 8]);
        });
        ulong a0 = 0x1000_0000 + (ulong)first;
        ulong b0 = 0x1000_0000 + (ulong)second;
        Assert.Equal((b0 + 8, 0x1000_0700ul, 0x1000_0708ul), (m.Cpu.Rcx, m.Cpu.Rdx, m.Cpu.Rdi));
        Assert.Equal((b0 + a0 + 8, a0, 0x1000_0700 + b0 + 8), (m.Cpu.Gpr(8), m.Cpu.Gpr(9), m.Cpu.Gpr(11)));
        Assert.Equal((b0 + 8, b0 + 8), (m[Data + (ulong)first + 0x18], m.Cpu.Rax));
        Assert.Equal(0x8000ul, m.Cpu.Rsp);
    }

    [Fact]
    public void A_narrow_address_does_not_disturb_a_run()
    {
        using EmulationMachine m = Machine();
        m.Cpu.Rbx = Data + 0x100;
        m.Cpu.Rcx = 0x7777_0000_0000;
        Run(m, a =>
        {
            a.mov(rax, __qword_ptr[rbx]);
            a.AddInstruction(Instruction.Create(Iced.Intel.Code.Lea_r16_m, Register.CX, new MemoryOperand(Register.RBX, 2)));
            a.mov(rdx, __qword_ptr[rbx + 8]);
        });
        Assert.Equal((0x1000_0100ul, 0x1000_0108ul, 0x7777_0000_0102ul), (m.Cpu.Rax, m.Cpu.Rdx, m.Cpu.Rcx));
    }

    [Theory]
    [InlineData(8)]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Registers_that_live_in_memory_are_operands_of_any_width(int bits)
    {
        using EmulationMachine m = Machine();
        m.Cpu.Rax = 0x8877_6655_4433_22F1;
        m.Cpu.Gpr(10) = 0x1111_1111_1111_1111;
        m.Cpu.Gpr(11) = 0x0F0F_0F0F_0F0F_0F0F;
        m.Cpu.Gpr(15) = ulong.MaxValue;
        Run(m, a =>
        {
            a.mov(r10, 0x1111_1111_1111_1111ul);
            a.mov(r15, ulong.MaxValue);
            switch (bits)
            {
                case 8:
                    a.add(r10b, al);
                    a.mov(r15b, r11b);
                    a.test(al, r11b);
                    break;
                case 16:
                    a.add(r10w, ax);
                    a.mov(r15w, r11w);
                    a.test(ax, r11w);
                    break;
                case 32:
                    a.add(r10d, eax);
                    a.mov(r15d, r11d);
                    a.test(eax, r11d);
                    break;
                default:
                    a.add(r10, rax);
                    a.mov(r15, r11);
                    a.test(rax, r11);
                    break;
            }

            a.setz(cl);
            a.inc(r11);
            a.dec(r11);
            a.movzx(edx, r10b);
            a.cmp(r10, r15);
            a.seta(dil);
        });
        ulong mask = bits == 64 ? ulong.MaxValue : (1ul << bits) - 1;
        ulong kept = bits == 32 ? 0 : ~mask;
        ulong sum = (0x1111_1111_1111_1111ul & kept) | ((0x1111_1111_1111_1111 + m.Cpu.Rax) & mask);
        ulong moved = kept | (0x0F0F_0F0F_0F0F_0F0F & mask);
        Assert.Equal((sum, moved, 0x0F0F_0F0F_0F0F_0F0Ful), (m.Cpu.Gpr(10), m.Cpu.Gpr(15), m.Cpu.Gpr(11)));
        Assert.Equal((0ul, sum & 0xFF, sum > moved ? 1ul : 0), (m.Cpu.Rcx & 0xFF, m.Cpu.Rdx, m.Cpu.Rdi & 0xFF));
    }
}
