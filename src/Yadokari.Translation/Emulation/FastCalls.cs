using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>SYSCALL, SYSRET, SYSENTER, SYSEXIT: privilege level changes that load flat segments.</summary>
internal static unsafe class FastCalls
{
    // Hidden parts that these instructions load: flat, present, accessed; DPL in bits 5 and 6.
    private const ushort FlatCode64 = 0xA09B;
    private const ushort FlatCode32 = 0xC09B;
    private const ushort FlatData = 0xC093;

    internal static void Add(HandlerTable table)
    {
        table.On(&Syscall, Mnemonic.Syscall);
        table.On(&Sysret<uint>, Op.Sysretd);
        table.On(&Sysret<ulong>, Op.Sysretq);
        table.On(&Sysenter, Mnemonic.Sysenter);
        table.On(&Sysexit<uint>, Op.Sysexitd);
        table.On(&Sysexit<ulong>, Op.Sysexitq);
    }

    // SDM 2B SYSCALL; from compatibility mode AMD APM 3 SYSCALL, which takes CSTAR.
    private static Outcome Syscall(Vcpu cpu, in Instruction instruction)
    {
        // On Intel's processors 32-bit code has no SYSCALL; Linux leaves its entry point (CSTAR) empty there.
        if ((cpu.Efer & X86.Efer.SCE) == 0 || !cpu.LongMode || (!cpu.Code64 && cpu.Cpuid.Vendor == X86.Cpuid.CpuVendor.Intel))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        ulong target = cpu.Code64 ? cpu.Lstar : cpu.Cstar;
        cpu.Rcx = NextRip(cpu, instruction);
        cpu.Gpr(11) = cpu.Rflags & ~FlagResume;
        cpu.Rflags &= ~(cpu.Fmask | FlagResume);
        LoadFlat(cpu, (ushort)((cpu.Star >> 32) & 0xFFFC), 8, 0, FlatCode64);
        cpu.Rip = target;
        cpu.State->SystemCalls++;
        return Outcome.Jumped;
    }

    // SDM 2B SYSRET.
    private static Outcome Sysret<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        if ((cpu.Efer & X86.Efer.SCE) == 0 || !cpu.Code64)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        bool wide = sizeof(T) == 8;
        if (cpu.Cpl > 0 || (wide && !IsCanonical(cpu.Rcx)))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ushort start = (ushort)(cpu.Star >> 48);
        cpu.Rflags = cpu.Gpr(11) & 0x3C7FD7;
        LoadFlatCode(cpu, (ushort)(wide ? start + 16 : start), 3, wide ? FlatCode64 : FlatCode32);
        LoadFlatStack(cpu, (ushort)(start + 8), 3);
        cpu.Cpl = 3;
        cpu.Rip = wide ? cpu.Rcx : (uint)cpu.Rcx;
        return Outcome.Jumped;
    }

    /// <summary>Completes a SYSCALL or SYSRET of translated code (<see cref="VcpuState.FastCallLevel"/>): updates CPL and segments.</summary>
    internal static void FinishFastCall(Vcpu cpu)
    {
        int level = cpu.State->FastCallLevel - 1;
        cpu.State->FastCallLevel = 0;
        LoadFlatCode(cpu, (ushort)cpu.State->Selectors[Cs], level, FlatCode64);
        LoadFlatStack(cpu, (ushort)cpu.State->Selectors[Ss], level);
        cpu.Cpl = level;
    }

    // AMD's processors have neither SYSENTER nor SYSEXIT in long mode: AMD APM 3 SYSENTER, SYSEXIT.
    private static bool HasSysenter(Vcpu cpu) => !cpu.LongMode || cpu.Cpuid.Vendor != X86.Cpuid.CpuVendor.Amd;

    // SDM 2B SYSENTER.
    private static Outcome Sysenter(Vcpu cpu, in Instruction instruction)
    {
        if (!HasSysenter(cpu))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if ((cpu.Cr0 & X86.Cr0.PE) == 0 || (cpu.SysenterCs & 0xFFFC) == 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        bool wide = cpu.LongMode;
        cpu.Rflags &= ~(FlagVirtual8086 | FlagInterrupt | FlagResume);
        LoadFlat(cpu, (ushort)(cpu.SysenterCs & 0xFFFC), 8, 0, wide ? FlatCode64 : FlatCode32);
        cpu.Rsp = wide ? cpu.SysenterEsp : (uint)cpu.SysenterEsp;
        cpu.Rip = wide ? cpu.SysenterEip : (uint)cpu.SysenterEip;
        return Outcome.Jumped;
    }

    // SDM 2B SYSEXIT.
    private static Outcome Sysexit<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        if (!HasSysenter(cpu))
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        bool wide = sizeof(T) == 8;
        if (!cpu.ProtectedMode
            || cpu.Cpl > 0
            || (cpu.SysenterCs & 0xFFFC) == 0
            || (wide && !(IsCanonical(cpu.Rcx) && IsCanonical(cpu.Rdx))))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ushort start = (ushort)(cpu.SysenterCs & 0xFFFC);
        LoadFlat(cpu, (ushort)(start + (wide ? 32 : 16)), 8, 3, wide ? FlatCode64 : FlatCode32);
        cpu.Rsp = wide ? cpu.Rcx : (uint)cpu.Rcx;
        cpu.Rip = wide ? cpu.Rdx : (uint)cpu.Rdx;
        return Outcome.Jumped;
    }

    private static void LoadFlat(Vcpu cpu, ushort code, int toStack, int level, ushort attributes)
    {
        LoadFlatCode(cpu, code, level, attributes);
        LoadFlatStack(cpu, (ushort)(code + toStack), level);
        cpu.Cpl = level;
    }

    private static void LoadFlatCode(Vcpu cpu, ushort selector, int level, ushort attributes)
        => cpu.SetSegment(Cs, new SegmentState((ushort)(selector | level), 0, uint.MaxValue, (ushort)(attributes | (level << 5))));

    private static void LoadFlatStack(Vcpu cpu, ushort selector, int level)
        => cpu.SetSegment(Ss, new SegmentState((ushort)(selector | level), 0, uint.MaxValue, (ushort)(FlatData | (level << 5))));
}
