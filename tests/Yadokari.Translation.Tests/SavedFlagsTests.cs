using Iced.Intel;
using Yadokari.Core.Engines;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>Instructions that run while translated code keeps the flags in AX: RAX and the flags are the guest's whenever somebody looks.</summary>
public sealed unsafe class SavedFlagsTests
{
    private const ulong Code = 0x5000;
    private const ulong Handler = 0x6000;
    private const ulong Data = EmulationMachine.Data;
    private const ulong Rax = 0x1122334455667788;

    /// <summary>CF, SF and OF, without ZF, AF and PF.</summary>
    private const ulong Flags = 0x881;

    private static EmulationMachine Run(Action<Assembler> code)
    {
        var m = new EmulationMachine(64);
        Put(m, Code, a =>
        {
            // AH = SF and CF, AL overflows: then all of RAX anew.
            a.mov(ah, 0x81);
            a.mov(al, 0x7F);
            a.inc(al);
            a.mov(ah, 0x81);
            a.sahf();
            a.mov(rax, Rax);
            code(a);
        });
        Put(m, Handler, a =>
        {
            a.mov(rdx, __qword_ptr[rsp + 0x18]);
            a.hlt();
        });
        foreach (int vector in (ReadOnlySpan<int>)[0, 13, 14])
        {
            m.SetGate(vector, Handler);
        }

        m.Cpu.Rip = Code;
        m.Cpu.Cr4 |= 0x600;
        m.Cpu.Rbx = Data;
        m.Cpu.ModeChanged();
        VmExit exit = VmExit.Shutdown;
        var thread = new Thread(() => exit = m.Go());
        thread.Start();
        thread.Join();
        Assert.True(exit is VmExit.Halted or VmExit.HaltedWithInterruptsDisabled);
        return m;
    }

    private static void Put(EmulationMachine m, ulong at, Action<Assembler> write)
    {
        var a = new Assembler(64);
        write(a);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), at);
        stream.ToArray().CopyTo(m.Bytes(at, (int)stream.Length));
    }

    [Fact]
    public void A_misaligned_vector_faults_with_the_guests_registers()
    {
        using EmulationMachine m = Run(a =>
        {
            a.mov(rcx, __qword_ptr[rbx]);
            a.movaps(xmm0, __xmmword_ptr[rbx + 8]);
            a.setc(cl);
            a.hlt();
        });
        Assert.Equal((Handler + 6, Rax, Flags), (m.Cpu.Rip, m.Cpu.Rax, m.Cpu.Rdx & 0x8D5));
    }

    [Fact]
    public void A_miss_faults_with_the_guests_registers()
    {
        using EmulationMachine m = Run(a =>
        {
            a.mov(rcx, __qword_ptr[rbx]);
            a.mov(rsi, __qword_ptr[rbx + 0x2000]);
            a.setc(cl);
            a.hlt();
        });
        Assert.Equal((Handler + 6, Rax, Flags), (m.Cpu.Rip, m.Cpu.Rax, m.Cpu.Rdx & 0x8D5));
    }

    [Fact]
    public void Misses_that_are_mended_go_on()
    {
        // Each access misses the first time, flags and RAX unchanged by any.
        using EmulationMachine m = Run(a =>
        {
            a.lea(r9, __[rbx + 0x18]);
            a.mov(r8, rax);
            a.not(r8);
            a.lea(r9, __[r9 + r8 + 1]);
            a.mov(rcx, __qword_ptr[rbx]);
            a.mov(rsi, __qword_ptr[rbx + 0x1000]);
            a.push(rbx);
            a.mov(r14, __qword_ptr[rax + r9]);
            a.mov(rdi, __qword_ptr[rbx + 0x3000]);
            a.lea(r10, __[rbx + 1]);
            a.mov(__qword_ptr[rbx + 0x4000], r10);
            a.mov(r15, rax);
            a.pushfq();
            a.pop(rdx);
            a.hlt();
        });
        Assert.Equal((Rax, Flags, Rax, Data + 1), (m.Cpu.Rax, m.Cpu.Rdx & 0x8D5, m.Cpu.Gpr(15), m[Data + 0x4000]));
    }

    [Theory]
    [InlineData("jmp")]
    [InlineData("call")]
    [InlineData("ret")]
    [InlineData("cpuid")]
    [InlineData("end")]
    public void Flags_leave_the_block_with_it(string how)
    {
        using EmulationMachine m = Run(a =>
        {
            Label next = a.CreateLabel();
            Label start = a.CreateLabel();
            a.mov(ebp, 3);
            a.Label(ref start);
            a.mov(rcx, __qword_ptr[rbx]);
            a.mov(rsi, __qword_ptr[rbx + 8]);
            switch (how)
            {
                case "jmp":
                    a.jmp(next);
                    break;
                case "call":
                    a.call(next);
                    break;
                case "ret":
                    a.lea(rdi, __[next]);
                    a.push(rdi);
                    a.ret();
                    break;
                case "cpuid":
                    a.mov(r8, rax);
                    a.mov(r9, rbx);
                    a.cpuid();
                    a.mov(rax, r8);
                    a.mov(rbx, r9);
                    break;
                default:
                    // More than a block takes.
                    for (int i = 0; i < 50; i++)
                    {
                        a.mov(r8, __qword_ptr[rbx + i]);
                    }

                    break;
            }

            a.Label(ref next);
            a.pushfq();
            a.pop(rdx);
            a.lea(rbp, __[rbp - 1]);
            a.mov(rcx, rbp);
            Label done = a.CreateLabel();
            a.jrcxz(done);
            a.jmp(start);
            a.Label(ref done);
            a.hlt();
        });
        Assert.Equal((Rax, Flags), (m.Cpu.Rax, m.Cpu.Rdx & 0x8D5));
    }
}
