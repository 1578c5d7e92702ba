using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.TaskSwitches;
using static Yadokari.Translation.Emulation.VirtualMode;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Delivery of events through the IDT, and the instructions INT n, INT3, INTO and INT1.</summary>
internal static unsafe class InterruptDelivery
{
    // Flags that delivery clears: SDM 3A 6.12.1.
    private const ulong FlagsClearedByGate = FlagTrap | FlagNestedTask | FlagResume | FlagVirtual8086;

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Frame64(ulong Rip, ulong Cs, ulong Rflags, ulong Rsp, ulong Ss);

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct ErrorFrame64(ulong Error, Frame64 Frame);

    internal static void Add(HandlerTable table)
    {
        table.On(&IntN, Mnemonic.Int);
        table.On(&Int3, Mnemonic.Int3);
        table.On(&Int1, Mnemonic.Int1);
        table.On(&Into, Mnemonic.Into);
    }

    /// <summary>
    /// Delivers the raised exception at RIP. Afterwards no exception is raised, unless it returns <see cref="Outcome.Shutdown"/>.
    /// </summary>
    internal static Outcome DeliverRaised(Vcpu cpu)
    {
        int vector = cpu.RaisedVector;
        uint errorCode = cpu.RaisedErrorCode;
        cpu.ClearRaised();
        return Deliver(cpu, vector, X86.Vectors.HasErrorCode((Vector)vector) ? errorCode : null, software: false);
    }

    /// <summary>
    /// Delivers an exception, an interrupt or INT n through the IDT and pushes RIP. Returns <see cref="Outcome.Jumped"/>, or
    /// <see cref="Outcome.Shutdown"/> after a triple fault; for INT n also <see cref="Outcome.Fault"/> with a raised exception that must be delivered
    /// with RIP at the instruction. Exceptions during the delivery of other events are delivered in their place (SDM 3A table 6-5).
    /// </summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="vector">0 to 255.</param>
    /// <param name="errorCode">The exception's error code; null for interrupts and for exceptions without one.</param>
    /// <param name="software">INT n, INT3 and INTO: the gate's privilege level is checked.</param>
    internal static Outcome Deliver(Vcpu cpu, int vector, uint? errorCode, bool software)
    {
        while (true)
        {
            Outcome outcome = DeliverOnce(cpu, vector, errorCode, software);
            if (outcome != Outcome.Fault)
            {
                cpu.Events.NoteDelivery();
            }

            if (outcome != Outcome.Fault || software)
            {
                return outcome;
            }

            int second = cpu.RaisedVector;
            uint secondCode = cpu.RaisedErrorCode;
            cpu.ClearRaised();
            if (vector == (int)Vector.DoubleFault && errorCode.HasValue)
            {
                return Outcome.Shutdown;
            }

            // Interrupts push no error code, whatever their vector.
            bool exception = errorCode.HasValue || vector == (int)Vector.DivideError;
            if (exception && X86.Vectors.MakesDoubleFault((Vector)vector, (Vector)second))
            {
                vector = (int)Vector.DoubleFault;
                errorCode = 0;
            }
            else
            {
                vector = second;
                errorCode = X86.Vectors.HasErrorCode((Vector)second) ? secondCode : null;
            }
        }
    }

    // Faults push RF set, so that the instruction can resume after an execution breakpoint: SDM 3B 18.3.1.1.
    private static bool IsFault(int vector, bool hasErrorCode) => vector is 0 or 5 or 6 or 7 or 16 or 19 || (vector != 8 && hasErrorCode);

    private static Outcome DeliverOnce(Vcpu cpu, int vector, uint? errorCode, bool software)
    {
        if (vector == (int)Vector.Debug)
        {
            // Delivery of #DB clears DR7.GD: SDM 3B 18.2.4.
            cpu.Dr[7] &= ~X86.DebugRegisters.GD;
        }

        if ((cpu.Cr0 & X86.Cr0.PE) == 0)
        {
            return DeliverReal(cpu, vector);
        }

        ulong flags = cpu.Rflags | (!software && IsFault(vector, errorCode.HasValue) ? FlagResume : 0);
        return cpu.LongMode
            ? DeliverLong(cpu, vector, errorCode, software, flags)
            : DeliverProtected(cpu, vector, errorCode, software, flags);
    }

    // SDM 3A 21.1.4: the interrupt vector table.
    private static Outcome DeliverReal(Vcpu cpu, int vector)
    {
        if ((vector * 4) + 3 > cpu.Segments.Idtr.Limit)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        ulong rsp = cpu.Rsp;
        if (!cpu.Memory.ReadSystem((uint)(cpu.Segments.Idtr.Base + ((ulong)vector * 4)), out uint target)
            || !Push(cpu, ref rsp, cpu.Rflags, 2)
            || !Push(cpu, ref rsp, cpu.Segments[Cs].Selector, 2)
            || !Push(cpu, ref rsp, cpu.Rip, 2))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        cpu.Rflags &= ~(FlagInterrupt | FlagTrap | FlagAlignment | FlagResume);
        cpu.SetSegment(Cs, RealSegment(cpu, Cs, (ushort)(target >> 16)));
        cpu.Rip = (ushort)target;
        return Outcome.Jumped;
    }

    // SDM 3A 6.14: 16-byte gates, stack tables, a frame that is always five or six quadwords at a multiple of 16.
    private static Outcome DeliverLong(Vcpu cpu, int vector, uint? errorCode, bool software, ulong flags)
    {
        uint external = software ? 0u : 1u;
        uint gateError = ((uint)vector * 8) | 2 | external;
        if ((vector * 16) + 15 > cpu.Segments.Idtr.Limit)
        {
            return cpu.Raise(Vector.GeneralProtection, gateError);
        }

        ulong entry = cpu.Segments.Idtr.Base + ((ulong)vector * 16);
        if (!cpu.Memory.ReadSystem(entry, out ulong low) || !cpu.Memory.ReadSystem(entry + 8, out ulong high))
        {
            return Outcome.Fault;
        }

        var gate = new Descriptor(low, (uint)high);
        if (gate.Type is not (14 or 15) || (software && gate.Dpl < cpu.Cpl))
        {
            return cpu.Raise(Vector.GeneralProtection, gateError);
        }

        if (!gate.Present)
        {
            return cpu.Raise(Vector.SegmentNotPresent, gateError);
        }

        if (!FetchHandler(cpu, gate.GateSelector, external, out Descriptor code, out ulong codeAddress))
        {
            return Outcome.Fault;
        }

        if (!code.Long || code.Big)
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(gate.GateSelector, external));
        }

        int level = code.IsConforming ? cpu.Cpl : code.Dpl;
        ulong rsp = cpu.Rsp;
        if (gate.GateStack != 0)
        {
            if (!ReadTask(cpu, 28u + ((uint)gate.GateStack * 8), external, out rsp))
            {
                return Outcome.Fault;
            }
        }
        else if (level < cpu.Cpl && !ReadTask(cpu, 4u + ((uint)level * 8), external, out rsp))
        {
            return Outcome.Fault;
        }

        rsp = (rsp & ~0xFul) - (errorCode.HasValue ? 48u : 40u);
        if (!IsCanonical(rsp) || !IsCanonical(rsp + 47))
        {
            return cpu.Raise(Vector.StackFault, external);
        }

        if (!IsCanonical(gate.GateOffset))
        {
            return cpu.Raise(Vector.GeneralProtection, external);
        }

        var frame = new Frame64(cpu.Rip, cpu.Segments[Cs].Selector, flags, cpu.Rsp, cpu.Segments[Ss].Selector);
        bool written = errorCode is { } error
            ? cpu.Memory.WriteAs(rsp, new ErrorFrame64(error, frame), user: level == 3)
            : cpu.Memory.WriteAs(rsp, frame, user: level == 3);
        if (!written || !MarkAccessed(cpu, code, codeAddress))
        {
            return Outcome.Fault;
        }

        if (level < cpu.Cpl)
        {
            cpu.SetSegment(Ss, NullSegment((ushort)level, level));
        }

        cpu.Cpl = level;
        cpu.SetSegment(Cs, code.ToSegment((ushort)((gate.GateSelector & ~3) | level)));
        cpu.Rsp = rsp;
        cpu.Rip = gate.GateOffset;
        cpu.Rflags &= ~(FlagsClearedByGate | (gate.Type == 14 ? FlagInterrupt : 0));
        return Outcome.Jumped;
    }

    // SDM 3A 6.12, and 21.3.1 for virtual-8086 mode.
    private static Outcome DeliverProtected(Vcpu cpu, int vector, uint? errorCode, bool software, ulong flags)
    {
        uint external = software ? 0u : 1u;
        uint gateError = ((uint)vector * 8) | 2 | external;
        if ((vector * 8) + 7 > cpu.Segments.Idtr.Limit)
        {
            return cpu.Raise(Vector.GeneralProtection, gateError);
        }

        if (!cpu.Memory.ReadSystem((uint)(cpu.Segments.Idtr.Base + ((ulong)vector * 8)), out ulong low))
        {
            return Outcome.Fault;
        }

        var gate = new Descriptor(low);
        if (gate.Type is not (Descriptor.TaskGate or 6 or 7 or 14 or 15) || (software && gate.Dpl < cpu.Cpl))
        {
            return cpu.Raise(Vector.GeneralProtection, gateError);
        }

        if (!gate.Present)
        {
            return cpu.Raise(Vector.SegmentNotPresent, gateError);
        }

        if (gate.Type == Descriptor.TaskGate)
        {
            return DeliverToTask(cpu, gate.GateSelector, errorCode, external);
        }

        if (!FetchHandler(cpu, gate.GateSelector, external, out Descriptor code, out ulong codeAddress))
        {
            return Outcome.Fault;
        }

        int size = gate.Type >= 14 ? 4 : 2;
        ulong offset = size == 4 ? gate.GateOffset : (ushort)gate.GateOffset;
        int level = code.IsConforming ? cpu.Cpl : code.Dpl;
        bool leavesVirtual = cpu.Virtual8086;
        if (leavesVirtual && level != 0)
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(gate.GateSelector, external));
        }

        if (offset > code.Limit)
        {
            return cpu.Raise(Vector.GeneralProtection, external);
        }

        Stack stack = Stack.Current(cpu);
        if (level < cpu.Cpl)
        {
            if (!Stack.OfLevel(cpu, level, external, out stack) || !PushOuterStack(cpu, ref stack, size, leavesVirtual))
            {
                return Outcome.Fault;
            }
        }

        if (!stack.Push(cpu, flags, size)
            || !stack.Push(cpu, cpu.Segments[Cs].Selector, size)
            || !stack.Push(cpu, cpu.Rip, size)
            || (errorCode is { } error && !stack.Push(cpu, error, size))
            || !MarkAccessed(cpu, code, codeAddress))
        {
            return Outcome.Fault;
        }

        if (leavesVirtual)
        {
            foreach (int index in (ReadOnlySpan<int>)[Es, Ds, Fs, Gs])
            {
                cpu.SetSegment(index, NullSegment(0));
            }
        }

        cpu.Rflags &= ~(FlagsClearedByGate | (gate.Type is 6 or 14 ? FlagInterrupt : 0));
        cpu.Cpl = level;
        stack.Commit(cpu);
        cpu.SetSegment(Cs, code.ToSegment((ushort)((gate.GateSelector & ~3) | level)));
        cpu.Rip = offset;
        return Outcome.Jumped;
    }

    // Pushes the first words of an inner level's stack: the data segments of virtual-8086 mode, then SS:ESP of the interrupted level.
    private static bool PushOuterStack(Vcpu cpu, ref Stack stack, int size, bool leavesVirtual)
    {
        if (leavesVirtual)
        {
            foreach (int index in (ReadOnlySpan<int>)[Gs, Fs, Ds, Es])
            {
                if (!stack.Push(cpu, cpu.Segments[index].Selector, size))
                {
                    return false;
                }
            }
        }

        return stack.Push(cpu, cpu.Segments[Ss].Selector, size) && stack.Push(cpu, cpu.Rsp, size);
    }

    /// <summary>Reads and checks the code segment of a gate: present, and not less privileged than the interrupted code.</summary>
    private static bool FetchHandler(Vcpu cpu, ushort selector, uint external, out Descriptor code, out ulong address)
    {
        if (IsNull(selector))
        {
            code = default;
            address = 0;
            return Refuse(cpu, Vector.GeneralProtection, external);
        }

        if (!Fetch(cpu, selector, Vector.GeneralProtection, external, out code, out address))
        {
            return false;
        }

        if (!code.IsCode || code.Dpl > cpu.Cpl)
        {
            return Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector, external));
        }

        return code.Present || Refuse(cpu, Vector.SegmentNotPresent, ErrorOf(selector, external));
    }

    /// <summary>Reads a field of the current task state segment.</summary>
    internal static bool ReadTask<T>(Vcpu cpu, uint offset, uint external, out T value)
        where T : unmanaged
    {
        if (offset + sizeof(T) - 1 > cpu.Segments.Tr.Limit || (cpu.Segments.Tr.Attributes & 0x80) == 0)
        {
            value = default;
            return Refuse(cpu, Vector.InvalidTss, ErrorOf(cpu.Segments.Tr.Selector, external));
        }

        return cpu.Memory.ReadSystem(cpu.Segments.Tr.Base + offset, out value);
    }

    // SDM 2A INT n.
    private static Outcome IntN(Vcpu cpu, in Instruction instruction)
        => cpu.Virtual8086
            ? InterruptVirtual(cpu, instruction, instruction.Immediate8)
            : Interrupt(cpu, instruction, instruction.Immediate8, software: true);

    private static Outcome Int3(Vcpu cpu, in Instruction instruction)
        => Interrupt(cpu, instruction, (int)Vector.Breakpoint, software: true);

    private static Outcome Int1(Vcpu cpu, in Instruction instruction)
        => Interrupt(cpu, instruction, (int)Vector.Debug, software: false);

    private static Outcome Into(Vcpu cpu, in Instruction instruction)
        => (cpu.State->FlagsAx & 1) == 0 ? Outcome.Next : Interrupt(cpu, instruction, (int)Vector.Overflow, software: true);

    internal static Outcome Interrupt(Vcpu cpu, in Instruction instruction, int vector, bool software)
    {
        ulong start = cpu.Rip;
        cpu.Rip = NextRip(cpu, instruction);
        if (cpu.Catches(vector, null, software: true))
        {
            return Outcome.Shutdown;
        }

        Outcome outcome = Deliver(cpu, vector, null, software);
        if (outcome == Outcome.Fault)
        {
            cpu.Rip = start;
        }

        return outcome;
    }
}
