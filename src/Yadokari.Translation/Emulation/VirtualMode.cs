using Iced.Intel;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.FlagInstructions;
using static Yadokari.Translation.Emulation.InterruptDelivery;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// CR4.VME and CR4.PVI: instructions on IF in virtual-8086 mode, or at CPL 3, access the virtual interrupt flag VIF instead, and some software interrupts
/// are redirected to handlers in virtual-8086 mode (SDM 3A 21.3, 21.4).
/// </summary>
internal static unsafe class VirtualMode
{
    /// <summary>Whether instructions on IF access VIF instead.</summary>
    internal static bool HasVirtualInterruptFlag(Vcpu cpu)
        => Iopl(cpu) < 3 && (cpu.Virtual8086 ? (cpu.Cr4 & X86.Cr4.VME) != 0 : cpu.ProtectedMode && cpu.Cpl == 3 && (cpu.Cr4 & X86.Cr4.PVI) != 0);

    /// <summary>Whether PUSHF, POPF and IRET of 16 bits access VIF: in virtual-8086 mode with VME, below IOPL 3.</summary>
    internal static bool FlagsAreVirtual(Vcpu cpu, int bytes) => bytes == 2 && cpu.Virtual8086 && HasVirtualInterruptFlag(cpu);

    /// <summary>The flags that PUSHF and a redirected INT n push: VIF in place of IF, and IOPL 3.</summary>
    internal static ulong VirtualFlags(Vcpu cpu)
    {
        ulong flags = cpu.Rflags;
        return (flags & ~FlagInterrupt) | FlagIopl | ((flags & FlagVirtualInterrupt) != 0 ? FlagInterrupt : 0);
    }

    /// <summary>Sets 16 bits of flags by POPF or IRET, with VIF in place of IF. Raises #GP if the guest's virtual-8086 monitor must handle it.</summary>
    internal static bool SetVirtualFlags(Vcpu cpu, ulong popped)
    {
        if ((popped & FlagTrap) != 0 || ((popped & FlagInterrupt) != 0 && (cpu.Rflags & FlagVirtualPending) != 0))
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        ulong flags = (cpu.Rflags & ~(UserFlags16 | FlagVirtualInterrupt)) | (popped & UserFlags16);
        cpu.Rflags = flags | ((popped & FlagInterrupt) != 0 ? FlagVirtualInterrupt : 0);
        return true;
    }

    /// <summary>CLI and STI that change VIF.</summary>
    internal static Outcome SetVirtualInterruptFlag(Vcpu cpu, bool on)
    {
        if (on && (cpu.Rflags & FlagVirtualPending) != 0)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        cpu.Rflags = on ? cpu.Rflags | FlagVirtualInterrupt : cpu.Rflags & ~FlagVirtualInterrupt;
        return Outcome.Next;
    }

    /// <summary>INT n in virtual-8086 mode: delivers it to the program's handler or the monitor's, or raises #GP (SDM 3A table 21-2).</summary>
    internal static Outcome InterruptVirtual(Vcpu cpu, in Instruction instruction, int vector)
    {
        bool redirected = false;
        if ((cpu.Cr4 & X86.Cr4.VME) != 0 && !IsRedirected(cpu, vector, out redirected))
        {
            return Outcome.Fault;
        }

        bool virtualFlag = Iopl(cpu) < 3;
        if (!redirected)
        {
            return virtualFlag ? cpu.Raise(Vector.GeneralProtection) : Interrupt(cpu, instruction, vector, software: true);
        }

        ulong rsp = cpu.Rsp;
        ulong flags = virtualFlag ? VirtualFlags(cpu) : cpu.Rflags;
        if (!cpu.Memory.Read((ulong)vector * 4, out uint target)
            || !Push(cpu, ref rsp, flags, 2)
            || !Push(cpu, ref rsp, cpu.Segments[Cs].Selector, 2)
            || !Push(cpu, ref rsp, NextRip(cpu, instruction), 2))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        cpu.Rflags &= ~(FlagTrap | (virtualFlag ? FlagVirtualInterrupt : FlagInterrupt));
        cpu.SetSegment(Cs, RealSegment(cpu, Cs, (ushort)(target >> 16)));
        cpu.Rip = (ushort)target;
        return Outcome.Jumped;
    }

    // The interrupt redirection bitmap, 32 bytes below the I/O permission bitmap: a bit for each vector; 0 redirects.
    private static bool IsRedirected(Vcpu cpu, int vector, out bool redirected)
    {
        redirected = false;
        if ((cpu.Segments.Tr.Attributes & 0x8F) != (0x80 | Descriptor.TssBusy32) || cpu.Segments.Tr.Limit < 103)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        if (!cpu.Memory.ReadSystem(cpu.Segments.Tr.Base + 102, out ushort start))
        {
            return false;
        }

        uint offset = start - 32u + ((uint)vector / 8);
        if (offset > cpu.Segments.Tr.Limit)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        bool done = cpu.Memory.ReadSystem(cpu.Segments.Tr.Base + offset, out byte bits);
        redirected = (bits >> (vector % 8) & 1) == 0;
        return done;
    }
}
