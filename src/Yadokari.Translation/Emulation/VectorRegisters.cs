using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.X86;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.XsaveInstructions;

namespace Yadokari.Translation.Emulation;

/// <summary>Access to vector and mask registers in the vCPU's XSAVE area (SDM 1 13.5).</summary>
internal static unsafe class VectorRegisters
{
    private const int ComponentYmm = 2;
    private const int ComponentMask = 5;
    private const int ComponentZmm = 6;
    private const int ComponentHigh16 = 7;

    /// <summary>Whether AVX or AVX-512 instructions may run: #UD or #NM otherwise.</summary>
    internal static bool MayUseVectors(Vcpu cpu, in Instruction instruction)
    {
        ulong needed = InstructionClasses.IsAvx512(instruction.Code) ? 0xE6ul : InstructionClasses.IsAvx(instruction.Code) ? 6ul : 0;
        bool off = needed == 0
            ? (cpu.Cr0 & Cr0.EM) != 0 || ((cpu.Cr4 & Cr4.OSFXSR) == 0 && InstructionClasses.IsSse(instruction.Code))
            : (cpu.Cr4 & Cr4.OSXSAVE) == 0 || (cpu.Xcr0 & needed) != needed;
        if (off)
        {
            return Refuse(cpu, Vector.InvalidOpcode);
        }

        if ((cpu.Cr0 & Cr0.TS) != 0)
        {
            return Refuse(cpu, Vector.DeviceNotAvailable);
        }

        MakeInitial(cpu);
        return true;
    }

    private static int PlaceOf(Vcpu cpu, int component) => (int)ComponentOf(cpu, component).Ebx;

    /// <summary>Reads all 64 bytes of a register; bytes that the host's processor does not have are 0.</summary>
    internal static void ReadVector(Vcpu cpu, Register register, Span<byte> data)
    {
        int number = register.GetNumber();
        ulong has = cpu.Cpuid.Xcr0Supported;
        ReadOnlySpan<byte> area = AreaOf(cpu);
        data.Clear();
        if (number >= 16)
        {
            area.Slice(PlaceOf(cpu, ComponentHigh16) + ((number - 16) * 64), 64).CopyTo(data);
            return;
        }

        area.Slice(XmmOffset + (number * 16), 16).CopyTo(data);
        if ((has & ComponentAvx) != 0)
        {
            area.Slice(PlaceOf(cpu, ComponentYmm) + (number * 16), 16).CopyTo(data[16..]);
        }

        if ((has >> ComponentZmm & 1) != 0)
        {
            area.Slice(PlaceOf(cpu, ComponentZmm) + (number * 32), 32).CopyTo(data[32..]);
        }
    }

    /// <summary>Writes all 64 bytes of a register.</summary>
    internal static void WriteVector(Vcpu cpu, Register register, ReadOnlySpan<byte> data)
    {
        int number = register.GetNumber();
        ulong has = cpu.Cpuid.Xcr0Supported;
        Span<byte> area = AreaOf(cpu);
        if (number >= 16)
        {
            data[..64].CopyTo(area[(PlaceOf(cpu, ComponentHigh16) + ((number - 16) * 64))..]);
            InUse(cpu) |= 1ul << ComponentHigh16;
            return;
        }

        data[..16].CopyTo(area[(XmmOffset + (number * 16))..]);
        InUse(cpu) |= ComponentSse;
        if ((has & ComponentAvx) != 0)
        {
            data[16..32].CopyTo(area[(PlaceOf(cpu, ComponentYmm) + (number * 16))..]);
            InUse(cpu) |= ComponentAvx;
        }

        if ((has >> ComponentZmm & 1) != 0)
        {
            data[32..64].CopyTo(area[(PlaceOf(cpu, ComponentZmm) + (number * 32))..]);
            InUse(cpu) |= 1ul << ComponentZmm;
        }
    }

    internal static ulong ReadMask(Vcpu cpu, Register register)
        => MemoryMarshal.Read<ulong>(AreaOf(cpu)[(PlaceOf(cpu, ComponentMask) + (register.GetNumber() * 8))..]);

    internal static void WriteMask(Vcpu cpu, Register register, ulong value)
    {
        MemoryMarshal.Write(AreaOf(cpu)[(PlaceOf(cpu, ComponentMask) + (register.GetNumber() * 8))..], value);
        InUse(cpu) |= 1ul << ComponentMask;
    }
}
