using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.FlagInstructions;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.TaskSwitches;
using static Yadokari.Translation.Emulation.VirtualMode;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>IRET, and the steps that far returns share with it.</summary>
internal static unsafe class InterruptReturns
{
    internal static void Add(HandlerTable table)
    {
        table.On(&Iret<ushort>, Op.Iretw);
        table.On(&Iret<uint>, Op.Iretd);
        table.On(&Iret<ulong>, Op.Iretq);
    }

    // SDM 2A IRET. A popped RF suppresses execution breakpoints on the next instruction.
    private static Outcome Iret<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        // Also if it faults: SDM 3A 6.7.1.
        cpu.Events.UnblockNmis();
        if (!cpu.ProtectedMode)
        {
            return IretReal(cpu, sizeof(T));
        }

        if ((cpu.State->SystemFlags & FlagNestedTask) != 0)
        {
            return cpu.LongMode ? cpu.Raise(Vector.GeneralProtection) : ReturnFromTask(cpu, instruction);
        }

        ulong rsp = cpu.Rsp;
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong rip)
            || !Pop(cpu, ref rsp, sizeof(T), out ulong cs)
            || !Pop(cpu, ref rsp, sizeof(T), out ulong flags))
        {
            return Outcome.Fault;
        }

        if (sizeof(T) == 4 && !cpu.LongMode && cpu.Cpl == 0 && (flags & FlagVirtual8086) != 0)
        {
            return ReturnToVirtual8086(cpu, rsp, rip, cs, flags);
        }

        ulong writable = WritableFlags(cpu, sizeof(T));
        if (sizeof(T) > 2)
        {
            writable |= FlagResume | (cpu.Cpl == 0 ? FlagVirtualInterrupt | FlagVirtualPending : 0);
        }

        if (!FarReturn(cpu, rsp, rip, (ushort)cs, sizeof(T), release: 0, always: cpu.Code64))
        {
            return Outcome.Fault;
        }

        cpu.Rflags = (cpu.Rflags & ~writable) | (flags & writable);
        return Outcome.Jumped;
    }

    private static Outcome IretReal(Vcpu cpu, int bytes)
    {
        bool isVirtual = FlagsAreVirtual(cpu, bytes);
        if (cpu.Virtual8086 && Iopl(cpu) < 3 && !isVirtual)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong rsp = cpu.Rsp;
        if (!Pop(cpu, ref rsp, bytes, out ulong rip) || !Pop(cpu, ref rsp, bytes, out ulong cs) || !Pop(cpu, ref rsp, bytes, out ulong flags))
        {
            return Outcome.Fault;
        }

        SegmentState code = RealSegment(cpu, Cs, (ushort)cs);
        if (rip > code.Limit)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong writable = WritableFlags(cpu, bytes);
        if (isVirtual && !SetVirtualFlags(cpu, flags))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        cpu.SetSegment(Cs, code);
        cpu.Rip = rip;
        if (isVirtual)
        {
            return Outcome.Jumped;
        }

        cpu.Rflags = (cpu.Rflags & ~writable) | (flags & writable);
        return Outcome.Jumped;
    }

    // SDM 2A IRET, RETURN-TO-VIRTUAL-8086-MODE.
    private static Outcome ReturnToVirtual8086(Vcpu cpu, ulong rsp, ulong rip, ulong cs, ulong flags)
    {
        Span<ushort> selectors = stackalloc ushort[6];
        selectors[Cs] = (ushort)cs;
        if (!Pop(cpu, ref rsp, 4, out ulong esp))
        {
            return Outcome.Fault;
        }

        foreach (int index in (ReadOnlySpan<int>)[Ss, Es, Ds, Fs, Gs])
        {
            if (!Pop(cpu, ref rsp, 4, out ulong selector))
            {
                return Outcome.Fault;
            }

            selectors[index] = (ushort)selector;
        }

        cpu.Rflags = flags & 0x3E7FD7;
        cpu.Cpl = 3;
        for (int index = Es; index <= Gs; index++)
        {
            cpu.SetSegment(index, RealSegment(cpu, index, selectors[index]));
        }

        cpu.Rsp = esp;
        cpu.Rip = (ushort)rip;
        return Outcome.Jumped;
    }

    /// <summary>
    /// Returns to a code segment of the same or an outer level: pops the outer stack pointer if required, and loads all registers. After a fault,
    /// nothing has changed.
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="rsp">The stack pointer after CS and RIP (and RFLAGS) were popped.</param>
    /// <param name="rip">The popped RIP.</param>
    /// <param name="selector">The code segment.</param>
    /// <param name="bytes">Operand size.</param>
    /// <param name="release">Bytes of parameters to release on both stacks.</param>
    /// <param name="always">Whether the stack pointer is popped at the same level too: IRET in 64-bit mode.</param>
    internal static bool FarReturn(Vcpu cpu, ulong rsp, ulong rip, ushort selector, int bytes, uint release, bool always)
    {
        if (IsNull(selector))
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        if (!Fetch(cpu, selector, Vector.GeneralProtection, 0, out Descriptor code, out ulong codeAddress))
        {
            return false;
        }

        int level = selector & 3;
        bool to64 = cpu.LongMode && code.Long;
        if (!code.IsCode || level < cpu.Cpl || (code.IsConforming ? code.Dpl > level : code.Dpl != level) || (to64 && code.Big))
        {
            return Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!code.Present)
        {
            return Refuse(cpu, Vector.SegmentNotPresent, ErrorOf(selector));
        }

        SegmentState stack = cpu.Segments[Ss];
        bool pops = always || level != cpu.Cpl;
        SetPart(ref rsp, rsp + release, StackMask(cpu));
        ulong outerRsp = rsp;
        if (pops)
        {
            if (!Pop(cpu, ref rsp, bytes, out outerRsp)
                || !Pop(cpu, ref rsp, bytes, out ulong ss)
                || !ResolveReturnStack(cpu, (ushort)ss, level, to64, out stack))
            {
                return false;
            }

            outerRsp += release;
        }

        if (!CheckTarget(cpu, rip, code) || !MarkAccessed(cpu, code, codeAddress))
        {
            return false;
        }

        bool outer = level > cpu.Cpl;
        cpu.Cpl = level;
        cpu.SetSegment(Cs, code.ToSegment(selector));
        cpu.Rip = rip;
        if (!pops)
        {
            cpu.Rsp = rsp;
            return true;
        }

        cpu.SetSegment(Ss, stack);
        SetPart(ref cpu.Rsp, outerRsp, to64 ? ulong.MaxValue : (stack.Attributes & 0x4000) != 0 || bytes == 8 ? 0xFFFFFFFF : 0xFFFF);
        if (!to64)
        {
            cpu.Rsp = (uint)cpu.Rsp;
        }

        if (outer)
        {
            DropInnerSegments(cpu);
        }

        return true;
    }

    private static bool ResolveReturnStack(Vcpu cpu, ushort selector, int level, bool to64, out SegmentState stack)
    {
        stack = NullSegment(selector, level);
        if (IsNull(selector))
        {
            return (to64 && level < 3 && (selector & 3) == level) || Refuse(cpu, Vector.GeneralProtection);
        }

        if (!Fetch(cpu, selector, Vector.GeneralProtection, 0, out Descriptor descriptor, out ulong address))
        {
            return false;
        }

        if ((selector & 3) != level || !descriptor.IsWritable || descriptor.Dpl != level)
        {
            return Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!descriptor.Present)
        {
            return Refuse(cpu, Vector.StackFault, ErrorOf(selector));
        }

        stack = descriptor.ToSegment(selector);
        return MarkAccessed(cpu, descriptor, address);
    }

    /// <summary>Whether an offset may be executed in a code segment: canonical in 64-bit code, within the limit otherwise.</summary>
    internal static bool CheckTarget(Vcpu cpu, ulong offset, in Descriptor code)
        => (cpu.LongMode && code.Long ? IsCanonical(offset) : offset <= code.Limit) || Refuse(cpu, Vector.GeneralProtection);

    // Segments of an inner level must not stay usable, and null selectors lose their RPL: SDM 2B RET, RETURN-TO-OUTER-PRIVILEGE-LEVEL.
    private static void DropInnerSegments(Vcpu cpu)
    {
        foreach (int index in (ReadOnlySpan<int>)[Es, Ds, Fs, Gs])
        {
            int attributes = cpu.Segments[index].Attributes;
            bool conforming = (attributes & 0x1C) == 0x1C;
            bool present = (attributes & 0x80) != 0;
            if (present ? !conforming && ((attributes >> 5) & 3) < cpu.Cpl : cpu.Segments[index].Selector is 1 or 2 or 3)
            {
                // In long mode FS and GS keep their bases, which are separate MSRs.
                ulong start = cpu.LongMode && index >= Fs ? cpu.Segments[index].Base : 0;
                cpu.SetSegment(index, NullSegment(0) with { Base = start });
            }
        }
    }
}
