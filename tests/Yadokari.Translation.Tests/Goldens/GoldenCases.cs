using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests.Goldens;

/// <summary>One piece of guest code whose translation is pinned.</summary>
/// <param name="Name">Heads its lines in the file.</param>
/// <param name="Emit">Writes the guest's instructions.</param>
/// <param name="Flags">What follows reads the flags that the piece leaves or finds; otherwise it writes them all first.</param>
/// <param name="Kernel">CPL 0 rather than 3.</param>
/// <param name="Ends">The piece ends the block itself: all of the block's code is shown.</param>
public sealed record GoldenCase(string Name, Action<Assembler> Emit, bool Flags = false, bool Kernel = false, bool Ends = false);

/// <summary>Typical instructions, a few for each way the translator treats them.</summary>
public static class GoldenCases
{
    public static IReadOnlyList<GoldenCase> All { get; } =
    [
        new("mov between resident registers", a => a.mov(rax, rbx)),
        new("mov to r10, which lives in memory", a => a.mov(r10, rax)),
        new("add r11, r15: both live in memory", a => a.add(r11, r15)),
        new("load, flags dead", a => a.mov(rax, __qword_ptr[rbx + 8])),
        new("load, flags live", a => a.mov(rax, __qword_ptr[rbx + 8]), Flags: true),
        new("load in the kernel", a => a.mov(rax, __qword_ptr[rbx + 8]), Kernel: true),
        new("load with index", a => a.mov(ecx, __dword_ptr[rsi + (rdi * 4) + 0x10])),
        new("load by r15 into r10", a => a.mov(r10, __qword_ptr[r15])),
        new("load by a stack slot", a => a.mov(rax, __qword_ptr[rsp + 0x20])),
        new("store", a => a.mov(__qword_ptr[rbx], rax)),
        new("store of an immediate, flags live", a => a.mov(__dword_ptr[rbx + 4], 1), Flags: true),
        new("store of a byte from r10", a => a.mov(__byte_ptr[rdi], r10b)),
        new("two fields of a structure", a =>
        {
            a.mov(rax, __qword_ptr[rbx + 8]);
            a.mov(rcx, __qword_ptr[rbx + 0x10]);
        }),
        new("two structures by turns", a =>
        {
            a.mov(rax, __qword_ptr[rbx + 8]);
            a.mov(rcx, __qword_ptr[rsi]);
            a.mov(__qword_ptr[rbx + 0x10], rcx);
            a.mov(rdx, __qword_ptr[rsi + 8]);
        }),
        new("three loads, flags live", a =>
        {
            a.mov(rcx, __qword_ptr[rbx]);
            a.mov(rdx, __qword_ptr[rcx]);
            a.mov(rax, __qword_ptr[rdx]);
        }, Flags: true),
        new("movzx from memory", a => a.movzx(eax, __byte_ptr[rdi])),
        new("add to memory", a => a.add(__dword_ptr[rbx], 1)),
        new("cmp with memory, flags live", a => a.cmp(__dword_ptr[rbx], 1), Flags: true),
        new("adc: reads flags across its own check", a => a.adc(rax, __qword_ptr[rbx]), Flags: true),
        new("lea", a => a.lea(rax, __[rbx + (rcx * 8) + 0x40])),
        new("lea of r11", a => a.lea(r11, __[r11 + 8])),
        new("lea, relative to rip", a => a.AddInstruction(Instruction.Create(Iced.Intel.Code.Lea_r64_m, Register.RAX, RipRelative(0x5100)))),
        new("load, relative to rip", a => a.AddInstruction(Instruction.Create(Iced.Intel.Code.Mov_r64_rm64, Register.RAX, RipRelative(0x5100)))),
        new("load, relative to rip, in the kernel", a => a.AddInstruction(Instruction.Create(Iced.Intel.Code.Mov_r64_rm64, Register.RAX, RipRelative(0xFFFFFFFF81000100))), Kernel: true),
        new("load by fs", a => a.mov(rax, __qword_ptr.fs[0x28])),
        new("load by gs in the kernel", a => a.mov(rax, __qword_ptr.gs[0x28]), Kernel: true),
        new("high byte", a => a.mov(ah, __byte_ptr[rbx])),
        new("high byte to another", a => a.add(ah, bh)),
        new("push", a => a.push(rbp)),
        new("push of r10, flags live", a => a.push(r10), Flags: true),
        new("push of an immediate", a => a.push(0x12)),
        new("pop", a => a.pop(rbp)),
        new("pop of r15", a => a.pop(r15)),
        new("leave", a => a.leave()),
        new("call", a => a.call(0x5400), Ends: true),
        new("call in the kernel", a => a.call(0xFFFFFFFF81000400), Kernel: true, Ends: true),
        new("call by register", a => a.call(rax), Ends: true),
        new("call by memory", a => a.call(__qword_ptr[rbx]), Ends: true),
        new("ret", a => a.ret(), Ends: true),
        new("call with flags live", a =>
        {
            a.setc(cl);
            a.call(0x7000);
        }, Ends: true),
        new("jmp", a => a.jmp(0x5400), Ends: true),
        new("jmp by register", a => a.jmp(rax), Ends: true),
        new("loop: dec, jne back to the start", a =>
        {
            Label top = a.CreateLabel();
            a.Label(ref top);
            a.dec(ecx);
            a.jne(top);
        }, Ends: true),
        new("je forward", a => a.je(0x5400), Ends: true),
        new("SSE load", a => a.movups(xmm0, __xmmword_ptr[rsi])),
        new("SSE store", a => a.movups(__xmmword_ptr[rdi], xmm0)),
        new("SSE arithmetic", a => a.addsd(xmm1, xmm2)),
        new("AVX load and add", a => a.vaddps(ymm0, ymm1, __ymmword_ptr[rsi + 0x20])),
        new("cvtsi2sd from r10", a => a.cvtsi2sd(xmm0, r10)),
        new("x87 load", a => a.fld(__qword_ptr[rsi])),
        new("lock cmpxchg", a => a.@lock.cmpxchg(__dword_ptr[rdi], esi), Flags: true),
        new("lock xadd of r10", a => a.@lock.xadd(__qword_ptr[rdi], r10)),
        new("bts of memory by an immediate", a => a.bts(__dword_ptr[rdi], 5), Flags: true),
        new("bts of memory by a register", a => a.bts(__qword_ptr[rdi], rsi), Flags: true),
        new("imul", a => a.imul(rax, __qword_ptr[rbx], 3)),
        new("mulx: three registers that live in memory", a => a.mulx(r10, r11, r15)),
        new("div", a => a.div(rcx)),
        new("div by memory", a => a.div(__dword_ptr[rbx])),
        new("shl by cl", a => a.shl(rax, cl)),
        new("rep movsb", a => a.rep.movsb(), Ends: true),
        new("cli in the kernel", a => a.cli(), Kernel: true, Ends: true),
        new("cpuid", a => a.cpuid(), Ends: true),
        new("nop with an operand", a => a.nop(__dword_ptr[rax])),
    ];

    private static MemoryOperand RipRelative(ulong target) => new(Register.RIP, (long)target, 8);
}
