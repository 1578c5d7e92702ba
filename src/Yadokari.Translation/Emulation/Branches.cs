using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Near jumps, calls and returns that the translator does not expand.</summary>
internal static unsafe class Branches
{
    internal static void Add(HandlerTable table)
    {
        table.On(&JumpDirect, Op.Jmp_rel8_16, Op.Jmp_rel8_32, Op.Jmp_rel8_64, Op.Jmp_rel16, Op.Jmp_rel32_32, Op.Jmp_rel32_64);
        table.On(&JumpIndirect<ushort>, Op.Jmp_rm16);
        table.On(&JumpIndirect<uint>, Op.Jmp_rm32);
        table.On(&JumpIndirect<ulong>, Op.Jmp_rm64);
        table.On(&CallDirect<ushort>, Op.Call_rel16);
        table.On(&CallDirect<uint>, Op.Call_rel32_32);
        table.On(&CallDirect<ulong>, Op.Call_rel32_64);
        table.On(&CallIndirect<ushort>, Op.Call_rm16);
        table.On(&CallIndirect<uint>, Op.Call_rm32);
        table.On(&CallIndirect<ulong>, Op.Call_rm64);
        table.On(&Return<ushort>, Op.Retnw, Op.Retnw_imm16);
        table.On(&Return<uint>, Op.Retnd, Op.Retnd_imm16);
        table.On(&Return<ulong>, Op.Retnq, Op.Retnq_imm16);
        table.On(
            &JumpConditional,
            Mnemonic.Jo, Mnemonic.Jno, Mnemonic.Jb, Mnemonic.Jae, Mnemonic.Je, Mnemonic.Jne, Mnemonic.Jbe, Mnemonic.Ja,
            Mnemonic.Js, Mnemonic.Jns, Mnemonic.Jp, Mnemonic.Jnp, Mnemonic.Jl, Mnemonic.Jge, Mnemonic.Jle, Mnemonic.Jg);
        table.On(&Loop, Mnemonic.Loop, Mnemonic.Loope, Mnemonic.Loopne);
        table.On(&JumpIfCountZero, Mnemonic.Jcxz, Mnemonic.Jecxz, Mnemonic.Jrcxz);
    }

    // SDM 2A JMP.
    private static Outcome JumpDirect(Vcpu cpu, in Instruction instruction) => Jump(cpu, BranchTarget(cpu, instruction));

    private static Outcome JumpIndirect<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
        => Load(cpu, instruction, 0, sizeof(T), out ulong target) ? Jump(cpu, target) : Outcome.Fault;

    // SDM 2A CALL.
    private static Outcome CallDirect<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
        => Call(cpu, instruction, BranchTarget(cpu, instruction), sizeof(T));

    private static Outcome CallIndirect<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
        => Load(cpu, instruction, 0, sizeof(T), out ulong target) ? Call(cpu, instruction, target, sizeof(T)) : Outcome.Fault;

    internal static Outcome Call(Vcpu cpu, in Instruction instruction, ulong target, int bytes)
    {
        // Faults of the stack have priority over those of the target.
        ulong top = (cpu.Rsp - (ulong)bytes) & StackMask(cpu);
        if (!cpu.Memory.Linear(Ss, top, bytes, write: true, out ulong linear)
            || !cpu.Memory.ProbeLinear(linear, bytes, write: true)
            || !CheckOffset(cpu, target)
            || !Push(cpu, ref cpu.Rsp, NextRip(cpu, instruction), bytes))
        {
            return Outcome.Fault;
        }

        cpu.Rip = target;
        return Outcome.Jumped;
    }

    // SDM 2B RET.
    internal static Outcome Return<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong rsp = cpu.Rsp;
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong target) || !CheckOffset(cpu, target))
        {
            return Outcome.Fault;
        }

        uint release = instruction.OpCount > 0 ? instruction.Immediate16 : 0u;
        SetPart(ref cpu.Rsp, rsp + release, StackMask(cpu));
        cpu.Rip = target;
        return Outcome.Jumped;
    }

    // SDM 2A Jcc.
    private static Outcome JumpConditional(Vcpu cpu, in Instruction instruction)
        => Holds(cpu.Rflags, instruction.ConditionCode) ? JumpConditionally(cpu, instruction) : Outcome.Next;

    // SDM 2A LOOP: the address size selects the count register.
    private static Outcome Loop(Vcpu cpu, in Instruction instruction)
    {
        ulong mask = CountMask(instruction.Code);
        ulong count = (cpu.Rcx - 1) & mask;
        bool zero = (cpu.Rflags & FlagZero) != 0;
        bool goesOn = count != 0 && ConditionOf(cpu, instruction) switch
        {
            Mnemonic.Loope => zero,
            Mnemonic.Loopne => !zero,
            _ => true,
        };
        Outcome outcome = goesOn ? JumpConditionally(cpu, instruction) : Outcome.Next;
        if (outcome != Outcome.Fault)
        {
            SetWidth(ref cpu.Rcx, count, mask);
        }

        return outcome;
    }

    // AMD's processors go by a repeat prefix, if there is one.
    private static Mnemonic ConditionOf(Vcpu cpu, in Instruction instruction)
        => instruction.Mnemonic == Mnemonic.Loop || cpu.Cpuid.Vendor != X86.Cpuid.CpuVendor.Amd ? instruction.Mnemonic
            : instruction.HasRepnePrefix ? Mnemonic.Loopne
            : instruction.HasRepPrefix ? Mnemonic.Loope
            : instruction.Mnemonic;

    private static Outcome JumpIfCountZero(Vcpu cpu, in Instruction instruction)
        => (cpu.Rcx & CountMask(instruction.Code)) == 0 ? JumpConditionally(cpu, instruction) : Outcome.Next;

    private static ulong CountMask(Op code) => code switch
    {
        Op.Loop_rel8_16_CX or Op.Loop_rel8_32_CX or Op.Loope_rel8_16_CX or Op.Loope_rel8_32_CX or Op.Loopne_rel8_16_CX
            or Op.Loopne_rel8_32_CX or Op.Jcxz_rel8_16 or Op.Jcxz_rel8_32 => 0xFFFF,
        Op.Loop_rel8_16_RCX or Op.Loop_rel8_64_RCX or Op.Loope_rel8_16_RCX or Op.Loope_rel8_64_RCX or Op.Loopne_rel8_16_RCX
            or Op.Loopne_rel8_64_RCX or Op.Jrcxz_rel8_16 or Op.Jrcxz_rel8_64 => ulong.MaxValue,
        _ => 0xFFFFFFFF,
    };

    // The instruction may have been decoded at another address: only the distance is valid.
    private static ulong BranchTarget(Vcpu cpu, in Instruction instruction)
    {
        ulong target = NextRip(cpu, instruction) + (instruction.NearBranchTarget - instruction.NextIP);
        return instruction.Op0Kind switch
        {
            OpKind.NearBranch16 => (ushort)target,
            OpKind.NearBranch32 => (uint)target,
            _ => target,
        };
    }

    // A taken conditional branch. On AMD's processors it also faults if the next instruction would be beyond the limit of CS.
    private static Outcome JumpConditionally(Vcpu cpu, in Instruction instruction)
        => cpu.Code64 || cpu.Cpuid.Vendor != X86.Cpuid.CpuVendor.Amd || CheckOffset(cpu, NextRip(cpu, instruction))
            ? Jump(cpu, BranchTarget(cpu, instruction))
            : Outcome.Fault;

    internal static Outcome Jump(Vcpu cpu, ulong target)
    {
        if (!CheckOffset(cpu, target))
        {
            return Outcome.Fault;
        }

        cpu.Rip = target;
        return Outcome.Jumped;
    }

    private static bool CheckOffset(Vcpu cpu, ulong offset)
        => (cpu.Code64 ? IsCanonical(offset) : offset <= cpu.Segments[Cs].Limit) || Refuse(cpu, Vector.GeneralProtection);

    private static bool Holds(ulong flags, ConditionCode condition)
    {
        bool carry = (flags & 1) != 0;
        bool parity = (flags & 4) != 0;
        bool zero = (flags & FlagZero) != 0;
        bool sign = (flags & 0x80) != 0;
        bool overflow = (flags & 0x800) != 0;
        return condition switch
        {
            ConditionCode.o => overflow,
            ConditionCode.no => !overflow,
            ConditionCode.b => carry,
            ConditionCode.ae => !carry,
            ConditionCode.e => zero,
            ConditionCode.ne => !zero,
            ConditionCode.be => carry || zero,
            ConditionCode.a => !carry && !zero,
            ConditionCode.s => sign,
            ConditionCode.ns => !sign,
            ConditionCode.p => parity,
            ConditionCode.np => !parity,
            ConditionCode.l => sign != overflow,
            ConditionCode.ge => sign == overflow,
            ConditionCode.le => zero || sign != overflow,
            _ => !zero && sign == overflow,
        };
    }
}
