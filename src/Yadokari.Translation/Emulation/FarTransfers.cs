using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.InterruptReturns;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.SegmentInstructions;
using static Yadokari.Translation.Emulation.TaskSwitches;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Far JMP, CALL and RET.</summary>
internal static unsafe class FarTransfers
{
    internal static void Add(HandlerTable table)
    {
        table.On(&FarJumpDirect, Op.Jmp_ptr1616, Op.Jmp_ptr1632);
        table.On(&FarJumpIndirect<ushort>, Op.Jmp_m1616);
        table.On(&FarJumpIndirect<uint>, Op.Jmp_m1632);
        table.On(&FarJumpIndirect<ulong>, Op.Jmp_m1664);
        table.On(&FarCallDirect<ushort>, Op.Call_ptr1616);
        table.On(&FarCallDirect<uint>, Op.Call_ptr1632);
        table.On(&FarCallIndirect<ushort>, Op.Call_m1616);
        table.On(&FarCallIndirect<uint>, Op.Call_m1632);
        table.On(&FarCallIndirect<ulong>, Op.Call_m1664);
        table.On(&Retf<ushort>, Op.Retfw, Op.Retfw_imm16);
        table.On(&Retf<uint>, Op.Retfd, Op.Retfd_imm16);
        table.On(&Retf<ulong>, Op.Retfq, Op.Retfq_imm16);
    }

    private static Outcome FarJumpDirect(Vcpu cpu, in Instruction instruction)
        => FarJump(cpu, instruction, instruction.FarBranchSelector, FarOffset(instruction));

    private static Outcome FarJumpIndirect<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
        => ReadFarPointer<T>(cpu, instruction, out ushort selector, out ulong offset)
            ? FarJump(cpu, instruction, selector, offset)
            : Outcome.Fault;

    private static Outcome FarCallDirect<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
        => FarCall(cpu, instruction, instruction.FarBranchSelector, FarOffset(instruction), sizeof(T));

    private static Outcome FarCallIndirect<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
        => ReadFarPointer<T>(cpu, instruction, out ushort selector, out ulong offset)
            ? FarCall(cpu, instruction, selector, offset, sizeof(T))
            : Outcome.Fault;

    private static ulong FarOffset(in Instruction instruction)
        => instruction.Op0Kind == OpKind.FarBranch16 ? instruction.FarBranch16 : instruction.FarBranch32;

    // SDM 2A JMP.
    private static Outcome FarJump(Vcpu cpu, in Instruction instruction, ushort selector, ulong offset)
    {
        if (!cpu.ProtectedMode)
        {
            SegmentState real = RealSegment(cpu, Cs, selector);
            return offset <= real.Limit ? Enter(cpu, real, offset) : cpu.Raise(Vector.GeneralProtection);
        }

        if (!FetchTarget(cpu, selector, out Descriptor target, out ulong address))
        {
            return Outcome.Fault;
        }

        if (!target.IsCode)
        {
            if (IsTask(cpu, target))
            {
                return JumpToTask(cpu, instruction, selector, target, isCall: false);
            }

            // The gate's selector and offset replace those of the operand.
            if (!OpenGate(cpu, ref selector, ref target, ref address, out offset, out _, out _))
            {
                return Outcome.Fault;
            }

            if (!target.IsConforming && target.Dpl != cpu.Cpl)
            {
                return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
            }
        }

        return CheckCode(cpu, selector, target) && CheckTarget(cpu, offset, target) && MarkAccessed(cpu, target, address)
            ? Enter(cpu, target.ToSegment((ushort)((selector & ~3) | cpu.Cpl)), offset)
            : Outcome.Fault;
    }

    // SDM 2A CALL; AMD APM 3 CALL (Far), which pushes before it checks the offset. On AMD's processors, the called code's mode determines the pushes.
    private static Outcome FarCall(Vcpu cpu, in Instruction instruction, ushort selector, ulong offset, int bytes)
    {
        ulong next = NextRip(cpu, instruction);
        bool amd = cpu.Cpuid.Vendor == X86.Cpuid.CpuVendor.Amd;
        Stack stack = Stack.Current(cpu, cpu.Code64, cpu.Alignment.AreOn);
        if (!cpu.ProtectedMode)
        {
            SegmentState real = RealSegment(cpu, Cs, selector);
            return (amd || CheckRealTarget(cpu, offset, real)) && PushReturn(cpu, ref stack, next, bytes) && CheckRealTarget(cpu, offset, real)
                ? Enter(cpu, real, offset, stack)
                : Outcome.Fault;
        }

        if (!FetchTarget(cpu, selector, out Descriptor target, out ulong address))
        {
            return Outcome.Fault;
        }

        int level = cpu.Cpl;
        if (!target.IsCode)
        {
            if (IsTask(cpu, target))
            {
                return JumpToTask(cpu, instruction, selector, target, isCall: true);
            }

            if (!OpenGate(cpu, ref selector, ref target, ref address, out offset, out bytes, out int parameters))
            {
                return Outcome.Fault;
            }

            if (target.Dpl > cpu.Cpl)
            {
                return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
            }

            if (!target.IsConforming && target.Dpl < cpu.Cpl)
            {
                level = target.Dpl;
                if (!CheckPresent(cpu, selector, target) || !MoveInward(cpu, level, bytes, parameters, out stack))
                {
                    return Outcome.Fault;
                }
            }
        }

        if (level == cpu.Cpl)
        {
            if (!CheckCode(cpu, selector, target))
            {
                return Outcome.Fault;
            }

            stack = Stack.Current(cpu, amd ? cpu.LongMode && target.Long : cpu.Code64, cpu.Alignment.AreOn);
        }

        if ((!amd && !CheckTarget(cpu, offset, target))
            || !PushReturn(cpu, ref stack, next, bytes)
            || !CheckTarget(cpu, offset, target)
            || !MarkAccessed(cpu, target, address))
        {
            return Outcome.Fault;
        }

        cpu.Cpl = level;
        return Enter(cpu, target.ToSegment((ushort)((selector & ~3) | level)), offset, stack);
    }

    // SDM 2B RET.
    private static Outcome Retf<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        uint release = instruction.OpCount > 0 ? instruction.Immediate16 : 0u;
        ulong rsp = cpu.Rsp;
        SetPart(ref rsp, rsp + (ulong)sizeof(T), StackMask(cpu));
        ulong first = cpu.Rsp;

        // In the order of processors' reads, which CR2 of a page fault shows.
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong cs) || !Pop(cpu, ref first, sizeof(T), out ulong rip))
        {
            return Outcome.Fault;
        }

        if (cpu.ProtectedMode)
        {
            return FarReturn(cpu, rsp, rip, (ushort)cs, sizeof(T), release, always: false) ? Outcome.Jumped : Outcome.Fault;
        }

        SegmentState code = RealSegment(cpu, Cs, (ushort)cs);
        if (rip > code.Limit)
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        SetPart(ref cpu.Rsp, rsp + release, StackMask(cpu));
        return Enter(cpu, code, rip);
    }

    private static bool CheckRealTarget(Vcpu cpu, ulong offset, in SegmentState code)
        => offset <= code.Limit || Refuse(cpu, Vector.GeneralProtection);

    private static Outcome Enter(Vcpu cpu, in SegmentState code, ulong offset)
    {
        cpu.SetSegment(Cs, code);
        cpu.Rip = offset;
        return Outcome.Jumped;
    }

    private static Outcome Enter(Vcpu cpu, in SegmentState code, ulong offset, in Stack stack)
    {
        stack.Commit(cpu);
        return Enter(cpu, code, offset);
    }

    private static bool PushReturn(Vcpu cpu, ref Stack stack, ulong next, int bytes)
        => stack.Push(cpu, cpu.Segments[Cs].Selector, bytes) && stack.Push(cpu, next, bytes);

    /// <summary>Reads the descriptor of a far transfer's selector.</summary>
    private static bool FetchTarget(Vcpu cpu, ushort selector, out Descriptor target, out ulong address)
    {
        if (IsNull(selector))
        {
            target = default;
            address = 0;
            return Refuse(cpu, Vector.GeneralProtection);
        }

        return Fetch(cpu, selector, Vector.GeneralProtection, 0, out target, out address);
    }

    /// <summary>Whether code may be entered at the current level, without a gate or through one.</summary>
    private static bool CheckCode(Vcpu cpu, ushort selector, in Descriptor code)
    {
        bool allowed = code.IsConforming
            ? code.Dpl <= cpu.Cpl
            : code.Dpl == cpu.Cpl && (selector & 3) <= cpu.Cpl;
        return (allowed && !(cpu.LongMode && code.Long && code.Big)) || Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector))
            ? CheckPresent(cpu, selector, code)
            : false;
    }

    private static bool CheckPresent(Vcpu cpu, ushort selector, in Descriptor descriptor)
        => descriptor.Present || Refuse(cpu, Vector.SegmentNotPresent, ErrorOf(selector));

    private static bool IsTask(Vcpu cpu, in Descriptor target)
        => !cpu.LongMode && target.Type is Descriptor.TaskGate or Descriptor.TssAvailable16 or Descriptor.TssAvailable32;

    /// <summary>Goes through a call gate: replaces selector and descriptor by those of the code behind it (SDM 3A 5.8.4).</summary>
    private static bool OpenGate(
        Vcpu cpu,
        ref ushort selector,
        ref Descriptor target,
        ref ulong address,
        out ulong offset,
        out int bytes,
        out int parameters)
    {
        offset = 0;
        bytes = 0;
        parameters = 0;
        bool isGate = target.Type == Descriptor.CallGate32 || (target.Type == Descriptor.CallGate16 && !cpu.LongMode);
        if (!isGate || target.Dpl < cpu.Cpl || target.Dpl < (selector & 3))
        {
            return Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!CheckPresent(cpu, selector, target))
        {
            return false;
        }

        if (cpu.LongMode && !FetchSystem(cpu, selector, out target, out address))
        {
            return false;
        }

        bytes = cpu.LongMode ? 8 : target.Type == Descriptor.CallGate32 ? 4 : 2;
        offset = bytes == 2 ? (ushort)target.GateOffset : target.GateOffset;
        parameters = cpu.LongMode ? 0 : target.GateParameters;

        // The RPL of the gate's selector is ignored.
        selector = (ushort)(target.GateSelector & ~3);
        if (!FetchTarget(cpu, selector, out target, out address))
        {
            return false;
        }

        bool fits = target.IsCode && target.Dpl <= cpu.Cpl && (!cpu.LongMode || (target.Long && !target.Big));
        return fits || Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector));
    }

    /// <summary>Changes to the stack of an inner level, with the old stack's pointer and the parameters copied to it.</summary>
    private static bool MoveInward(Vcpu cpu, int level, int bytes, int parameters, out Stack stack)
    {
        if (!Stack.OfLevel(cpu, level, 0, out stack)
            || !stack.Push(cpu, cpu.Segments[Ss].Selector, bytes)
            || !stack.Push(cpu, cpu.Rsp, bytes))
        {
            return false;
        }

        for (int index = parameters - 1; index >= 0; index--)
        {
            ulong from = cpu.Rsp + ((ulong)index * (ulong)bytes);
            if (!Pop(cpu, ref from, bytes, out ulong parameter) || !stack.Push(cpu, parameter, bytes))
            {
                return false;
            }
        }

        return true;
    }
}
