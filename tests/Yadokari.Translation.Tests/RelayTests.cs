using System.Security.Cryptography;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.X86.Engines;
using Yadokari.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>
/// A program that goes from one vCPU to another and back, each time it is kicked out of guest code wherever that may be, ends as one that stays
/// where it is.
/// </summary>
public sealed class RelayTests : IDisposable
{
    private const ulong Start = 0x1_0000;
    private const ulong Data = 0x10_0000;
    private const int Rounds = 60;

    private readonly FlatPair _pair = new(new WildHost(1));

    /// <inheritdoc/>
    public void Dispose() => _pair.Dispose();

    [Fact]
    public void A_program_that_changes_vcpus_ends_as_one_that_does_not() => OwnThread.Run(() =>
    {
        _pair.Prepare(0, Start, Program);
        (X86State state, string memory, int moves) = Run(kicked: false);
        Assert.Equal(0, moves);
        for (int i = 0; i < 1000 && moves < 10; i++)
        {
            (X86State moved, string after, int within) = Run(kicked: true);
            Assert.Equal("", StateMembers.Difference(state, moved));
            Assert.Equal(memory, after);
            moves += within;
        }

        Assert.True(moves >= 10, $"{moves} moves");
    });

    // Integer, x87 and vector arithmetic, calls, and copies downwards, which take many turns of one instruction.
    private static void Program(Assembler a)
    {
        Label round = a.CreateLabel(), inner = a.CreateLabel(), function = a.CreateLabel();
        a.mov(r15d, Rounds);
        a.mov(eax, 1);
        a.fldpi();
        a.fld1();
        a.movq(xmm1, rsp);
        a.jmp(round);
        a.Label(ref function);
        a.imul(rax, rax, 0x01000193);
        a.adc(rax, r14);
        a.rcl(rax, 7);
        a.pushfq();
        a.pop(r14);
        a.ret();
        a.Label(ref round);
        a.mov(ebx, 2000);
        a.Label(ref inner);
        a.call(function);
        a.movq(xmm0, rax);
        a.paddq(xmm1, xmm0);
        a.pshufd(xmm2, xmm1, 0x1B);
        a.pxor(xmm1, xmm2);
        a.fadd(st1, st0);
        a.fmul(st0, st1);
        a.fsqrt();
        a.mov(rdx, rax);
        a.and(edx, 0x3FFF8);
        a.add(__qword_ptr[rdx + (int)Data], rax);
        a.dec(ebx);
        a.jne(inner);
        a.std();
        a.mov(rsi, Data + 0x3_FFFF);
        a.mov(rdi, Data + 0x8_0001);
        a.mov(ecx, 0x3_0000);
        a.rep.movsb();
        a.cld();
        a.dec(r15d);
        a.jne(round);
    }

    private (X86State State, string Memory, int Moves) Run(bool kicked)
    {
        _pair.Memory.Write(Data, new byte[0x10_0000]);
        X86State state = FlatPair.StateAt(_pair.Vcpus[0], Start);
        state.Xsave = []; // As after a reset.
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = i == 4 ? state.Gpr[4] : 0;
        }

        using var timer = new Timer(_ => Array.ForEach(_pair.Vcpus, v => v.Kick()), null, kicked ? 1 : Timeout.Infinite, 1);
        int turns = 0;
        int moves = 0;
        VmExit exit;
        do
        {
            IX86Vcpu vcpu = _pair.Vcpus[turns++ % 2];
            (ulong rip, ulong rcx, ulong rax) = (state.Rip, state.Rcx, state.Rax);
            vcpu.Load(state);
            exit = vcpu.Run();
            vcpu.Save(state);
            moves += exit == VmExit.Kicked && (rip, rcx, rax) != (state.Rip, state.Rcx, state.Rax) ? 1 : 0;
        }
        while (exit == VmExit.Kicked);

        Assert.Equal(VmExit.HaltedWithInterruptsDisabled, exit);
        byte[] memory = new byte[2 << 20];
        _pair.Memory.Read(0, memory);
        memory.AsSpan(0x1000, 0x4000).Clear(); // Accessed and dirty bits.
        return (state, Convert.ToHexString(SHA256.HashData(memory)), moves);
    }
}
