using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Moves to and from segment registers.</summary>
internal static unsafe class SegmentInstructions
{
    internal static void Add(HandlerTable table)
    {
        table.On(&MovToSegment, Op.Mov_Sreg_rm16, Op.Mov_Sreg_r32m16, Op.Mov_Sreg_r64m16);
        table.On(&MovFromSegment, Op.Mov_rm16_Sreg, Op.Mov_r32m16_Sreg, Op.Mov_r64m16_Sreg);
        table.On(&PushSegment<ushort>, Op.Pushw_ES, Op.Pushw_CS, Op.Pushw_SS, Op.Pushw_DS, Op.Pushw_FS, Op.Pushw_GS);
        table.On(&PushSegment<uint>, Op.Pushd_ES, Op.Pushd_CS, Op.Pushd_SS, Op.Pushd_DS, Op.Pushd_FS, Op.Pushd_GS);
        table.On(&PushSegment<ulong>, Op.Pushq_FS, Op.Pushq_GS);
        table.On(&PopSegment<ushort>, Op.Popw_ES, Op.Popw_SS, Op.Popw_DS, Op.Popw_FS, Op.Popw_GS);
        table.On(&PopSegment<uint>, Op.Popd_ES, Op.Popd_SS, Op.Popd_DS, Op.Popd_FS, Op.Popd_GS);
        table.On(&PopSegment<ulong>, Op.Popq_FS, Op.Popq_GS);
        table.On(&LoadFarPointer<ushort>, Op.Les_r16_m1616, Op.Lds_r16_m1616, Op.Lss_r16_m1616, Op.Lfs_r16_m1616, Op.Lgs_r16_m1616);
        table.On(&LoadFarPointer<uint>, Op.Les_r32_m1632, Op.Lds_r32_m1632, Op.Lss_r32_m1632, Op.Lfs_r32_m1632, Op.Lgs_r32_m1632);
        table.On(&LoadFarPointer<ulong>, Op.Lss_r64_m1664, Op.Lfs_r64_m1664, Op.Lgs_r64_m1664);
    }

    /// <summary>
    /// Loads a segment register with a selector that user code loaded during direct execution, from the host's descriptor table. Returns false after
    /// raising the exception, if the guest's table does not permit it.
    /// </summary>
    internal static bool Reload(Vcpu cpu, int index, ushort selector)
    {
        if (index != Cs)
        {
            if (!ResolveData(cpu, index, selector, out SegmentState data))
            {
                return false;
            }

            cpu.SetSegment(index, data);
            return true;
        }

        if (!Fetch(cpu, selector, Vector.GeneralProtection, 0, out Descriptor descriptor, out _))
        {
            return false;
        }

        if (!descriptor.IsCode || !descriptor.Present || descriptor.Dpl != 3)
        {
            return Refuse(cpu, Vector.GeneralProtection, ErrorOf(selector));
        }

        cpu.SetSegment(Cs, descriptor.ToSegment(selector));
        return true;
    }

    // SDM 2B MOV: loading SS blocks interrupts for one instruction.
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
        cpu.Events.InterruptShadow |= index == Ss;
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
        cpu.Events.InterruptShadow |= index == Ss;
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

    internal static bool ReadFarPointer<T>(Vcpu cpu, in Instruction instruction, out ushort selector, out ulong offset)
        where T : unmanaged
    {
        // AMD's processors have no offset of 64 bits in memory: AMD APM 3 CALL (Far), JMP (Far), LxS.
        int bytes = cpu.Cpuid.Vendor == X86.Cpuid.CpuVendor.Amd ? Math.Min(sizeof(T), 4) : sizeof(T);
        selector = 0;
        offset = 0;
        return Address(cpu, instruction, bytes + 2, write: false, out ulong linear)
            && ReadSized(cpu, linear, bytes, out offset)
            && cpu.Memory.Read(linear + (ulong)bytes, out selector);
    }
}
