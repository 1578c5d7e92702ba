using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>PUSH, POP, PUSHA, POPA, ENTER, LEAVE: the slow path of all their forms.</summary>
internal static unsafe class StackInstructions
{
    internal static void Add(HandlerTable table)
    {
        table.On(&PushOperand<ushort>, Op.Push_r16, Op.Push_rm16, Op.Push_imm16, Op.Pushw_imm8);
        table.On(&PushOperand<uint>, Op.Push_r32, Op.Push_rm32, Op.Pushd_imm32, Op.Pushd_imm8);
        table.On(&PushOperand<ulong>, Op.Push_r64, Op.Push_rm64, Op.Pushq_imm32, Op.Pushq_imm8);
        table.On(&PopOperand<ushort>, Op.Pop_r16, Op.Pop_rm16);
        table.On(&PopOperand<uint>, Op.Pop_r32, Op.Pop_rm32);
        table.On(&PopOperand<ulong>, Op.Pop_r64, Op.Pop_rm64);
        table.On(&PushAll<ushort>, Op.Pushaw);
        table.On(&PushAll<uint>, Op.Pushad);
        table.On(&PopAll<ushort>, Op.Popaw);
        table.On(&PopAll<uint>, Op.Popad);
        table.On(&EnterFrame<ushort>, Op.Enterw_imm16_imm8);
        table.On(&EnterFrame<uint>, Op.Enterd_imm16_imm8);
        table.On(&EnterFrame<ulong>, Op.Enterq_imm16_imm8);
        table.On(&Leave<ushort>, Op.Leavew);
        table.On(&Leave<uint>, Op.Leaved);
        table.On(&Leave<ulong>, Op.Leaveq);
    }

    // SDM 2B PUSH: RSP itself is pushed as it was before.
    private static Outcome PushOperand<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong value;
        if (instruction.Op0Kind is OpKind.Register or OpKind.Memory)
        {
            if (!Load(cpu, instruction, 0, sizeof(T), out value))
            {
                return Outcome.Fault;
            }
        }
        else
        {
            value = instruction.GetImmediate(0);
        }

        return Push(cpu, ref cpu.Rsp, value, sizeof(T)) ? Outcome.Next : Outcome.Fault;
    }

    // SDM 2B POP: an address with RSP in it is worked out after RSP has moved; POP RSP leaves what was popped.
    private static Outcome PopOperand<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong old = cpu.Rsp;
        ulong rsp = old;
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong value))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        if (!Store(cpu, instruction, 0, sizeof(T), value))
        {
            cpu.Rsp = old;
            return Outcome.Fault;
        }

        return Outcome.Next;
    }

    // SDM 2B PUSHA.
    private static Outcome PushAll<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong rsp = cpu.Rsp;
        for (int index = 0; index < 8; index++)
        {
            if (!Push(cpu, ref rsp, cpu.Gpr(index), sizeof(T)))
            {
                return Outcome.Fault;
            }
        }

        cpu.Rsp = rsp;
        return Outcome.Next;
    }

    // SDM 2B POPA: the image of RSP is ignored. If a later pop faults, processors keep the registers popped before.
    private static Outcome PopAll<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong rsp = cpu.Rsp;
        for (int index = 7; index >= 0; index--)
        {
            if (!Pop(cpu, ref rsp, sizeof(T), out ulong value))
            {
                return Outcome.Fault;
            }

            if (index != 4)
            {
                SetWidth(ref cpu.Gpr(index), value, MaskOf(sizeof(T)));
            }
        }

        cpu.Rsp = rsp;
        return Outcome.Next;
    }

    // SDM 2A ENTER.
    private static Outcome EnterFrame<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        int level = instruction.Immediate8_2nd & 31;
        ulong mask = StackMask(cpu);
        ulong rsp = cpu.Rsp;
        ulong rbp = cpu.Rbp;
        if (!IsAligned(cpu, rsp - (ulong)sizeof(T), sizeof(T)) || !Push(cpu, ref rsp, rbp, sizeof(T)))
        {
            return Outcome.Fault;
        }

        ulong frame = rsp;
        for (int i = 1; i < level; i++)
        {
            SetPart(ref rbp, rbp - (ulong)sizeof(T), mask);
            ulong at = rbp;
            if (!IsAligned(cpu, at, sizeof(T)) || !Pop(cpu, ref at, sizeof(T), out ulong outer) || !Push(cpu, ref rsp, outer, sizeof(T)))
            {
                return Outcome.Fault;
            }
        }

        if (level > 0 && !Push(cpu, ref rsp, frame, sizeof(T)))
        {
            return Outcome.Fault;
        }

        SetPart(ref rsp, rsp - instruction.Immediate16, mask);

        // The new top of the stack must be writable.
        if (!IsAligned(cpu, rsp, sizeof(T)) || !cpu.Memory.Linear(Ss, rsp & mask, sizeof(T), write: true, out ulong linear)
            || !cpu.Memory.ProbeLinear(linear, sizeof(T), write: true))
        {
            return Outcome.Fault;
        }

        SetWidth(ref cpu.Rbp, frame, MaskOf(sizeof(T)));
        cpu.Rsp = rsp;
        return Outcome.Next;
    }

    // Whether an access of ENTER to the stack passes alignment checking. An invalid address passes, because the access itself faults.
    private static bool IsAligned(Vcpu cpu, ulong rsp, int bytes)
    {
        if (!cpu.Alignment.AreOn)
        {
            return true;
        }

        if (cpu.Memory.Linear(Ss, rsp & StackMask(cpu), bytes, write: true, out ulong linear) && (linear & (ulong)(bytes - 1)) != 0)
        {
            cpu.Raise(Vector.AlignmentCheck);
            return false;
        }

        cpu.ClearRaised();
        return true;
    }

    // SDM 2A LEAVE.
    private static Outcome Leave<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong rsp = cpu.Rsp;
        SetPart(ref rsp, cpu.Rbp, StackMask(cpu));
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong rbp))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        SetWidth(ref cpu.Rbp, rbp, MaskOf(sizeof(T)));
        return Outcome.Next;
    }
}
