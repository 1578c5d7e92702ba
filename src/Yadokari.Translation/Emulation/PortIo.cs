using System.Runtime.InteropServices;
using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>IN and OUT. INS and OUTS are with the string instructions.</summary>
internal static unsafe class PortIo
{
    internal static void Add(HandlerTable table)
    {
        table.On(&In<byte>, Op.In_AL_imm8, Op.In_AL_DX);
        table.On(&In<ushort>, Op.In_AX_imm8, Op.In_AX_DX);
        table.On(&In<uint>, Op.In_EAX_imm8, Op.In_EAX_DX);
        table.On(&Out<byte>, Op.Out_imm8_AL, Op.Out_DX_AL);
        table.On(&Out<ushort>, Op.Out_imm8_AX, Op.Out_DX_AX);
        table.On(&Out<uint>, Op.Out_imm8_EAX, Op.Out_DX_EAX);
    }

    // SDM 2A IN.
    private static Outcome In<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ushort port = instruction.Op1Kind == OpKind.Register ? (ushort)cpu.Rdx : instruction.Immediate8;
        if (!MayUsePort(cpu, port, sizeof(T)))
        {
            return Outcome.Fault;
        }

        T value = default;
        cpu.ReadPort(port, MemoryMarshal.AsBytes(new Span<T>(ref value)));
        Set(cpu, instruction.Op0Register, ZeroExtend(value));
        return Outcome.Next;
    }

    // SDM 2B OUT.
    private static Outcome Out<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ushort port = instruction.Op0Kind == OpKind.Register ? (ushort)cpu.Rdx : instruction.Immediate8;
        if (!MayUsePort(cpu, port, sizeof(T)))
        {
            return Outcome.Fault;
        }

        uint value = (uint)cpu.Rax;
        cpu.WritePort(port, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value))[..sizeof(T)]);
        return Outcome.Next;
    }

    internal static ulong ZeroExtend<T>(T value)
        where T : unmanaged
    {
        ulong wide = 0;

        // SAFETY: T has at most eight bytes.
        *(T*)&wide = value;
        return wide;
    }

    // SDM 1 19.5.2: the I/O permission bitmap of the TSS is checked if IOPL does not permit the access, and always in virtual-8086 mode.
    internal static bool MayUsePort(Vcpu cpu, ushort port, int bytes)
    {
        if ((cpu.Cr0 & X86.Cr0.PE) == 0 || (cpu.Cpl <= Iopl(cpu) && !cpu.Virtual8086))
        {
            return true;
        }

        bool has = (cpu.Segments.Tr.Attributes & 0x8F) == (0x80 | Descriptor.TssBusy32) && cpu.Segments.Tr.Limit >= 103;
        if (!has)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        if (!cpu.Memory.ReadSystem(cpu.Segments.Tr.Base + 102, out ushort start))
        {
            return false;
        }

        uint offset = start + (uint)(port >> 3);
        if (offset + 1 > cpu.Segments.Tr.Limit)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        if (!cpu.Memory.ReadSystem(cpu.Segments.Tr.Base + offset, out ushort bits))
        {
            return false;
        }

        uint wanted = ((1u << bytes) - 1) << (port & 7);
        return (bits & wanted) == 0 || Refuse(cpu, Vector.GeneralProtection);
    }
}
