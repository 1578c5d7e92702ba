using Iced.Intel;
using Yadokari.Core.State;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Moves to and from segment registers.</summary>
internal static unsafe partial class Emulator
{
    private static void AddSegments(Table table)
    {
        table.On(&MovToSegment, Code.Mov_Sreg_rm16, Code.Mov_Sreg_r32m16, Code.Mov_Sreg_r64m16);
        table.On(&MovFromSegment, Code.Mov_rm16_Sreg, Code.Mov_r32m16_Sreg, Code.Mov_r64m16_Sreg);
        table.On(&PushSegment<ushort>, Code.Pushw_ES, Code.Pushw_CS, Code.Pushw_SS, Code.Pushw_DS, Code.Pushw_FS, Code.Pushw_GS);
        table.On(&PushSegment<uint>, Code.Pushd_ES, Code.Pushd_CS, Code.Pushd_SS, Code.Pushd_DS, Code.Pushd_FS, Code.Pushd_GS);
        table.On(&PushSegment<ulong>, Code.Pushq_FS, Code.Pushq_GS);
        table.On(&PopSegment<ushort>, Code.Popw_ES, Code.Popw_SS, Code.Popw_DS, Code.Popw_FS, Code.Popw_GS);
        table.On(&PopSegment<uint>, Code.Popd_ES, Code.Popd_SS, Code.Popd_DS, Code.Popd_FS, Code.Popd_GS);
        table.On(&PopSegment<ulong>, Code.Popq_FS, Code.Popq_GS);
        table.On(&LoadFarPointer<ushort>, Code.Les_r16_m1616, Code.Lds_r16_m1616, Code.Lss_r16_m1616, Code.Lfs_r16_m1616, Code.Lgs_r16_m1616);
        table.On(&LoadFarPointer<uint>, Code.Les_r32_m1632, Code.Lds_r32_m1632, Code.Lss_r32_m1632, Code.Lfs_r32_m1632, Code.Lgs_r32_m1632);
        table.On(&LoadFarPointer<ulong>, Code.Lss_r64_m1664, Code.Lfs_r64_m1664, Code.Lgs_r64_m1664);
    }

    // SDM 2B MOV: loading SS holds interrupts off for one instruction.
    private static Outcome MovToSegment(Vcpu cpu, in Instruction instruction)
    {
        int index = instruction.Op0Register - Register.ES;
        if (index == Cs || (uint)index > Gs)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        if (!Load(cpu, instruction, 1, 2, out ulong selector) || !ResolveData(cpu, index, (ushort)selector, out SegmentState segment))
        {
            return Outcome.Fault;
        }

        cpu.SetSegment(index, segment);
        cpu.InterruptShadow |= index == Ss;
        return Outcome.Next;
    }

    private static Outcome MovFromSegment(Vcpu cpu, in Instruction instruction)
    {
        int index = instruction.Op1Register - Register.ES;
        return (uint)index > Gs
            ? cpu.Raise(Vector.InvalidOpcode)
            : StoreNext(cpu, instruction, 0, 2, cpu.Segments[index].Selector);
    }

    private static Outcome PushSegment<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ushort selector = cpu.Segments[instruction.Op0Register - Register.ES].Selector;
        return Push(cpu, ref cpu.Rsp, selector, sizeof(T)) ? Outcome.Next : Outcome.Fault;
    }

    // SDM 2B POP.
    private static Outcome PopSegment<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        int index = instruction.Op0Register - Register.ES;
        ulong rsp = cpu.Rsp;
        if (!Pop(cpu, ref rsp, sizeof(T), out ulong selector) || !ResolveData(cpu, index, (ushort)selector, out SegmentState segment))
        {
            return Outcome.Fault;
        }

        cpu.Rsp = rsp;
        cpu.SetSegment(index, segment);
        cpu.InterruptShadow |= index == Ss;
        return Outcome.Next;
    }

    // SDM 2A LDS/LES/LFS/LGS/LSS: the offset comes first in memory.
    private static Outcome LoadFarPointer<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        int index = instruction.Mnemonic switch
        {
            Mnemonic.Les => Es,
            Mnemonic.Lss => Ss,
            Mnemonic.Lds => Ds,
            Mnemonic.Lfs => Fs,
            _ => Gs,
        };
        if (!ReadFarPointer<T>(cpu, instruction, out ushort selector, out ulong offset)
            || !ResolveData(cpu, index, selector, out SegmentState segment))
        {
            return Outcome.Fault;
        }

        cpu.SetSegment(index, segment);
        Set(cpu, instruction.Op0Register, offset);
        return Outcome.Next;
    }

    private static bool ReadFarPointer<T>(Vcpu cpu, in Instruction instruction, out ushort selector, out ulong offset)
        where T : unmanaged
    {
        selector = 0;
        offset = 0;
        return Address(cpu, instruction, sizeof(T) + 2, write: false, out ulong linear)
            && ReadSized(cpu, linear, sizeof(T), out offset)
            && cpu.Read(linear + (ulong)sizeof(T), out selector);
    }
}
