using System.Runtime.CompilerServices;
using Iced.Intel;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>CPUID, time-stamp and performance counters, XCR0, segment bases, hypercalls.</summary>
internal static unsafe class Identification
{
    internal static void Add(HandlerTable table)
    {
        table.On(&Cpuid, Mnemonic.Cpuid);
        table.On(&Rdtsc, Mnemonic.Rdtsc);
        table.On(&Rdtscp, Mnemonic.Rdtscp);
        table.On(&Rdpid, Mnemonic.Rdpid);
        table.On(&Rdpmc, Mnemonic.Rdpmc);
        table.On(&Xgetbv, Mnemonic.Xgetbv);
        table.On(&Xsetbv, Mnemonic.Xsetbv);
        table.On(&Swapgs, Mnemonic.Swapgs);
        table.On(&ReadBase, Mnemonic.Rdfsbase, Mnemonic.Rdgsbase);
        table.On(&WriteBase, Mnemonic.Wrfsbase, Mnemonic.Wrgsbase);
        table.On(&Hypercall, Mnemonic.Vmcall, Mnemonic.Vmmcall);
        table.On(&ReadShadowStack, Mnemonic.Rdsspd, Mnemonic.Rdsspq);
        table.On(&ClearLine, Mnemonic.Clzero);
    }

    // SDM 2B RDSSP: a NOP without shadow stacks; unwinders detect that by the unchanged register.
    private static Outcome ReadShadowStack(Vcpu cpu, in Instruction instruction) => Outcome.Next;

    // AMD APM 3 CLZERO: clears the cache line that contains the address in rAX.
    private static Outcome ClearLine(Vcpu cpu, in Instruction instruction)
    {
        const int Line = 64;
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        ulong mask = instruction.Code switch { Op.Clzerow => 0xFFFF, Op.Clzerod => 0xFFFFFFFF, _ => ulong.MaxValue };
        bool prefixed = instruction.HasSegmentPrefix && (!cpu.Code64 || instruction.SegmentPrefix is Register.FS or Register.GS);
        int segment = prefixed ? instruction.SegmentPrefix - Register.ES : Ds;
        if (!cpu.Memory.Linear(segment, cpu.Rax & mask, 1, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        ReadOnlySpan<byte> zeros = stackalloc byte[Line];
        return cpu.Memory.WriteLinear(linear & ~(ulong)(Line - 1), zeros) ? Outcome.Next : Outcome.Fault;
    }

    // SDM 2A CPUID.
    private static Outcome Cpuid(Vcpu cpu, in Instruction instruction)
    {
        CpuidResult result = cpu.Cpuid.Query((uint)cpu.Rax, (uint)cpu.Rcx, ContextOf(cpu));
        cpu.Rax = result.Eax;
        cpu.Rbx = result.Ebx;
        cpu.Rcx = result.Ecx;
        cpu.Rdx = result.Edx;
        return Outcome.Next;
    }

    private static CpuidContext ContextOf(Vcpu cpu)
        => new((uint)cpu.Id, cpu.Xcr0, cpu.Cr4, !cpu.Host.ReadMsr(cpu.Id, X86.Msrs.MsrIndex.ApicBase, out ulong apicBase) || (apicBase & (1 << 11)) != 0);

    // SDM 2B RDTSC.
    private static Outcome Rdtsc(Vcpu cpu, in Instruction instruction)
    {
        if ((cpu.Cr4 & Cr4.TSD) != 0 && cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        SetPair(cpu, cpu.ReadTsc());
        return Outcome.Next;
    }

    private static Outcome Rdtscp(Vcpu cpu, in Instruction instruction)
    {
        Outcome outcome = Rdtsc(cpu, instruction);
        if (outcome == Outcome.Next)
        {
            cpu.Rcx = (uint)cpu.TscAux;
        }

        return outcome;
    }

    private static Outcome Rdpid(Vcpu cpu, in Instruction instruction)
    {
        Set(cpu, instruction.Op0Register, cpu.TscAux);
        return Outcome.Next;
    }

    // SDM 2B RDPMC: there are no counters to read, so every number is out of range.
    private static Outcome Rdpmc(Vcpu cpu, in Instruction instruction) => cpu.Raise(Vector.GeneralProtection);

    // SDM 2C XGETBV: with ECX = 1 it returns the components in use.
    private static Outcome Xgetbv(Vcpu cpu, in Instruction instruction)
    {
        if ((cpu.Cr4 & Cr4.OSXSAVE) == 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        switch ((uint)cpu.Rcx)
        {
            case 0:
                SetPair(cpu, cpu.Xcr0);
                return Outcome.Next;
            case 1 when (cpu.Cpuid.Query(0xD, 1, ContextOf(cpu)).Eax & 4) != 0:
                // SAFETY: XSTATE_BV is at offset 512 of the area (SDM 1 13.4.2), which the vCPU's window contains.
                SetPair(cpu, cpu.Xcr0 & Unsafe.ReadUnaligned<ulong>(cpu.XsaveArea + 512));
                return Outcome.Next;
            default:
                return cpu.Raise(Vector.GeneralProtection);
        }
    }

    // SDM 2C XSETBV, SDM 1 13.3.
    private static Outcome Xsetbv(Vcpu cpu, in Instruction instruction)
    {
        if ((cpu.Cr4 & Cr4.OSXSAVE) == 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        const ulong Avx512 = 0xE0;
        ulong value = Pair(cpu);
        bool valid = (value & 1) != 0
            && (value & ~cpu.Cpuid.Xcr0Supported) == 0
            && (value & 6) != 4
            && (value & Avx512) is 0 or Avx512
            && ((value & Avx512) == 0 || (value & 6) == 6);
        if (cpu.Cpl > 0 || (uint)cpu.Rcx != 0 || !valid)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        cpu.Xcr0 = value;
        cpu.ModeChanged();
        return Outcome.Next;
    }

    // SDM 2B SWAPGS.
    private static Outcome Swapgs(Vcpu cpu, in Instruction instruction)
    {
        if (!cpu.Code64)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong start = cpu.Segments[Gs].Base;
        SetBase(cpu, Gs, cpu.KernelGsBase);
        cpu.KernelGsBase = start;
        return Outcome.Next;
    }

    // SDM 2B RDFSBASE/RDGSBASE.
    private static Outcome ReadBase(Vcpu cpu, in Instruction instruction)
    {
        if (!cpu.Code64 || (cpu.Cr4 & Cr4.FSGSBASE) == 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        Set(cpu, instruction.Op0Register, cpu.Segments[instruction.Mnemonic == Mnemonic.Rdfsbase ? Fs : Gs].Base);
        return Outcome.Next;
    }

    // SDM 2C WRFSBASE/WRGSBASE.
    private static Outcome WriteBase(Vcpu cpu, in Instruction instruction)
    {
        if (!cpu.Code64 || (cpu.Cr4 & Cr4.FSGSBASE) == 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        ulong value = Get(cpu, instruction.Op0Register);
        if (!IsCanonical(value))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        SetBase(cpu, instruction.Mnemonic == Mnemonic.Wrfsbase ? Fs : Gs, value);
        return Outcome.Next;
    }

    /// <summary>
    /// VMCALL and VMMCALL at level 0: RAX is the number and takes the result. Arguments are RBX RCX RDX RSI (what KVM's interface
    /// takes) RDI R10 R8 R9 (with RSI and RDX before, what Xen's takes).
    /// </summary>
    private static Outcome Hypercall(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        ReadOnlySpan<ulong> arguments = [cpu.Rbx, cpu.Rcx, cpu.Rdx, cpu.Rsi, cpu.Rdi, cpu.Gpr(10), cpu.Gpr(8), cpu.Gpr(9)];
        if (!cpu.Host.Hypercall(cpu.Id, cpu.Rax, arguments, out ulong result))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        cpu.Rax = result;
        return Outcome.Next;
    }

    internal static void SetBase(Vcpu cpu, int index, ulong value) => cpu.SetSegment(index, cpu.Segments[index] with { Base = value });

    /// <summary>EDX:EAX.</summary>
    internal static ulong Pair(Vcpu cpu) => (cpu.Rdx << 32) | (uint)cpu.Rax;

    internal static void SetPair(Vcpu cpu, ulong value)
    {
        cpu.Rax = (uint)value;
        cpu.Rdx = value >> 32;
    }
}
