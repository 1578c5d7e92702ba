using Iced.Intel;
using Yadokari.X86;
using Yadokari.X86.Msrs;
using static Yadokari.Translation.Emulation.Identification;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>RDMSR and WRMSR: MSRs of the engine, of the machine (the local APIC), and of the <see cref="X86.Msrs.MsrFile"/>.</summary>
internal static unsafe class MsrInstructions
{
    internal static void Add(HandlerTable table)
    {
        table.On(&Rdmsr, Mnemonic.Rdmsr);
        table.On(&Wrmsr, Mnemonic.Wrmsr);
    }

    // SDM 2B RDMSR.
    private static Outcome Rdmsr(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        if (!ReadMsr(cpu, (uint)cpu.Rcx, out ulong value))
        {
            cpu.Vm.Refused.Count($"rdmsr {(uint)cpu.Rcx:x}");
            return cpu.Raise(Vector.GeneralProtection);
        }

        SetPair(cpu, value);
        return Outcome.Next;
    }

    // SDM 2C WRMSR.
    private static Outcome Wrmsr(Vcpu cpu, in Instruction instruction)
    {
        if (cpu.Cpl > 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        if (!WriteMsr(cpu, (uint)cpu.Rcx, Pair(cpu)))
        {
            cpu.Vm.Refused.Count($"wrmsr {(uint)cpu.Rcx:x}");
            return cpu.Raise(Vector.GeneralProtection);
        }

        return Outcome.Next;
    }

    private static bool IsMachineMsr(uint index)
        => index is MsrIndex.ApicBase or MsrIndex.TscDeadline or (>= MsrIndex.X2ApicFirst and <= MsrIndex.X2ApicLast) or MsrIndex.PvWallClock or MsrIndex.PvSystemTime;

    private static bool ReadMsr(Vcpu cpu, uint index, out ulong value)
    {
        if (IsMachineMsr(index))
        {
            return cpu.Host.ReadMsr(cpu.Id, index, out value);
        }

        switch (index)
        {
            case MsrIndex.Tsc:
                value = cpu.ReadTsc();
                return true;
            case MsrIndex.TscAdjust:
                value = cpu.TscAdjust;
                return true;
            case MsrIndex.SysenterCs:
                value = cpu.SysenterCs;
                return true;
            case MsrIndex.SysenterEsp:
                value = cpu.SysenterEsp;
                return true;
            case MsrIndex.SysenterEip:
                value = cpu.SysenterEip;
                return true;
            case MsrIndex.Efer:
                value = cpu.Efer;
                return true;
            case MsrIndex.Star:
                value = cpu.Star;
                return true;
            case MsrIndex.Lstar:
                value = cpu.Lstar;
                return true;
            case MsrIndex.Cstar:
                value = cpu.Cstar;
                return true;
            case MsrIndex.Sfmask:
                value = cpu.Fmask;
                return true;
            case MsrIndex.FsBase:
                value = cpu.Segments[Fs].Base;
                return true;
            case MsrIndex.GsBase:
                value = cpu.Segments[Gs].Base;
                return true;
            case MsrIndex.KernelGsBase:
                value = cpu.KernelGsBase;
                return true;
            case MsrIndex.TscAux:
                value = cpu.TscAux;
                return true;
            default:
                return cpu.MsrFile.Read(index, out value);
        }
    }

    private static bool WriteMsr(Vcpu cpu, uint index, ulong value)
    {
        if (IsMachineMsr(index))
        {
            return (index != MsrIndex.ApicBase || value >> cpu.PhysicalAddressBits == 0) && cpu.Host.WriteMsr(cpu.Id, index, value);
        }

        switch (index)
        {
            case MsrIndex.Tsc:
                MoveTsc(cpu, value - cpu.ReadTsc());
                return true;
            case MsrIndex.TscAdjust:
                MoveTsc(cpu, value - cpu.TscAdjust);
                return true;
            case MsrIndex.SysenterCs:
                cpu.SysenterCs = (uint)value;
                return true;
            case MsrIndex.SysenterEsp:
                return WriteAddress(ref cpu.SysenterEsp, value);
            case MsrIndex.SysenterEip:
                return WriteAddress(ref cpu.SysenterEip, value);
            case MsrIndex.Efer:
                return WriteEfer(cpu, value);
            case MsrIndex.Star:
                cpu.Star = value;
                return true;
            case MsrIndex.Lstar:
                return WriteAddress(ref cpu.Lstar, value);
            case MsrIndex.Cstar:
                return WriteAddress(ref cpu.Cstar, value);
            case MsrIndex.Sfmask:
                return WriteHalf(ref cpu.Fmask, value);
            case MsrIndex.FsBase:
            case MsrIndex.GsBase:
                if (!IsCanonical(value))
                {
                    return false;
                }

                SetBase(cpu, index == MsrIndex.FsBase ? Fs : Gs, value);
                return true;
            case MsrIndex.KernelGsBase:
                return WriteAddress(ref cpu.KernelGsBase, value);
            case MsrIndex.TscAux:
                return WriteHalf(ref cpu.TscAux, value);
            default:
                return cpu.MsrFile.Write(index, value);
        }
    }

    // SDM 4 table 2-2, IA32_EFER; SDM 3A 2.2.1: LME may not change while paging is on.
    private static bool WriteEfer(Vcpu cpu, ulong value)
    {
        ulong changed = cpu.Efer ^ value;
        if ((value & ~cpu.Cpuid.EferWritable) != 0 || ((changed & Efer.LME) != 0 && (cpu.Cr0 & Cr0.PG) != 0))
        {
            return false;
        }

        cpu.Efer = (value & ~Efer.LMA) | (cpu.Efer & Efer.LMA);
        if ((changed & Efer.NXE) != 0)
        {
            cpu.Mmu.FlushAll();
        }

        cpu.ModeChanged();
        return true;
    }

    // SDM 3B 18.17.3: a write of IA32_TSC or IA32_TSC_ADJUST changes both.
    private static void MoveTsc(Vcpu cpu, ulong distance)
    {
        cpu.MoveTsc(distance);
        cpu.TscAdjust += distance;
        cpu.Host.TscChanged(cpu.Id);
    }

    private static bool WriteAddress(ref ulong register, ulong value)
    {
        if (!IsCanonical(value))
        {
            return false;
        }

        register = value;
        return true;
    }

    private static bool WriteHalf(ref ulong register, ulong value)
    {
        if (value >> 32 != 0)
        {
            return false;
        }

        register = value;
        return true;
    }
}
