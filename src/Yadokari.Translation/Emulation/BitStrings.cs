using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// BT, BTS, BTR, BTC on memory with a bit offset in a register (SDM 2A BT, 1 3.1.1.9): the offset is signed and covers the whole address space. The
/// translator expands the common forms; these handlers emulate all forms, and memory that is not RAM.
/// </summary>
internal static unsafe class BitStrings
{
    internal static void Add(HandlerTable table)
    {
        table.On(&BitString<ushort>, Op.Bt_rm16_r16, Op.Bts_rm16_r16, Op.Btr_rm16_r16, Op.Btc_rm16_r16);
        table.On(&BitString<uint>, Op.Bt_rm32_r32, Op.Bts_rm32_r32, Op.Btr_rm32_r32, Op.Btc_rm32_r32);
        table.On(&BitString<ulong>, Op.Bt_rm64_r64, Op.Bts_rm64_r64, Op.Btr_rm64_r64, Op.Btc_rm64_r64);
    }

    private static Outcome BitString<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        int bytes = sizeof(T);
        ulong offset = Get(cpu, instruction.Op1Register);
        ulong bit = 1ul << (int)(offset & (((ulong)bytes * 8) - 1));
        bool writes = instruction.Mnemonic != Mnemonic.Bt;
        ulong value;
        ulong linear = 0;
        if (instruction.Op0Kind == OpKind.Register)
        {
            value = Get(cpu, instruction.Op0Register);
        }
        else
        {
            ulong start = cpu.Memory.EffectiveAddress(instruction, out int segment);
            ulong address = (start + Distance(offset, bytes)) & AddressMask(cpu, instruction);
            if (!cpu.Memory.Linear(segment, address, bytes, writes, out linear)
                || (writes && !cpu.Memory.ProbeLinear(linear, bytes, write: true))
                || !ReadSized(cpu, linear, bytes, out value))
            {
                return Outcome.Fault;
            }
        }

        ulong result = instruction.Mnemonic switch
        {
            Mnemonic.Bts => value | bit,
            Mnemonic.Btr => value & ~bit,
            Mnemonic.Btc => value ^ bit,
            _ => value,
        };
        if (writes && instruction.Op0Kind == OpKind.Register)
        {
            Set(cpu, instruction.Op0Register, result);
        }
        else if (writes && !WriteSized(cpu, linear, bytes, result))
        {
            return Outcome.Fault;
        }

        const ulong FlagCarry = 1;
        SetArithmeticFlags(cpu, (cpu.Rflags & ~FlagCarry) | ((value & bit) != 0 ? FlagCarry : 0));
        return Outcome.Next;
    }

    /// <summary>How far from its operand's address BT, BTC, BTR or BTS with a bit offset in a register accesses memory; 0 for other instructions.</summary>
    internal static ulong BitStringDistance(Vcpu cpu, in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Btc or Mnemonic.Btr or Mnemonic.Bts
            && instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register
            ? Distance(Get(cpu, instruction.Op1Register), instruction.Op1Register.GetSize())
            : 0;

    private static ulong Distance(ulong offset, int bytes)
    {
        long signed = bytes switch { 2 => (short)offset, 4 => (int)offset, _ => (long)offset };
        return (ulong)((signed >> (bytes == 2 ? 4 : bytes == 4 ? 5 : 6)) * bytes);
    }

    /// <summary>The bits of an offset that an instruction's address size leaves.</summary>
    private static ulong AddressMask(Vcpu cpu, in Instruction instruction)
    {
        Register register = instruction.MemoryBase != Register.None ? instruction.MemoryBase : instruction.MemoryIndex;
        return register.IsGPR64() || register == Register.RIP ? ulong.MaxValue
            : register.IsGPR32() || register == Register.EIP ? uint.MaxValue
            : register.IsGPR16() ? ushort.MaxValue
            : instruction.MemoryDisplSize switch { 8 => ulong.MaxValue, 4 => uint.MaxValue, 2 => ushort.MaxValue, _ => cpu.Code64 ? ulong.MaxValue : uint.MaxValue };
    }
}
