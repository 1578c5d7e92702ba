using Iced.Intel;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Operands: registers, memory, the stack, flags.</summary>
internal static unsafe class Operands
{
    internal const ulong FlagTrap = 1ul << 8;
    internal const ulong FlagInterrupt = 1ul << 9;
    internal const ulong FlagDirection = 1ul << 10;
    internal const ulong FlagIopl = 3ul << 12;
    internal const ulong FlagNestedTask = 1ul << 14;
    internal const ulong FlagResume = 1ul << 16;
    internal const ulong FlagVirtual8086 = 1ul << 17;
    internal const ulong FlagAlignment = 1ul << 18;
    internal const ulong FlagVirtualInterrupt = 1ul << 19;
    internal const ulong FlagVirtualPending = 1ul << 20;
    internal const ulong FlagId = 1ul << 21;
    internal const ulong FlagZero = 1ul << 6;

    internal const int Es = 0;
    internal const int Cs = 1;
    internal const int Ss = 2;
    internal const int Ds = 3;
    internal const int Fs = 4;
    internal const int Gs = 5;

    /// <summary>Raises an exception and returns false: for steps that return success.</summary>
    internal static bool Refuse(Vcpu cpu, Vector vector, uint errorCode = 0)
    {
        cpu.Raise(vector, errorCode);
        return false;
    }

    /// <summary>The mask of an operand of 1, 2, 4 or 8 bytes.</summary>
    internal static ulong MaskOf(int bytes) => ulong.MaxValue >> (64 - (bytes * 8));

    internal static bool IsCanonical(ulong address) => (long)(address << 16) >> 16 == (long)address;

    internal static int Iopl(Vcpu cpu) => (int)(cpu.State->SystemFlags >> 12) & 3;

    /// <summary>Offset in CS of the instruction after this one.</summary>
    internal static ulong NextRip(Vcpu cpu, in Instruction instruction)
    {
        ulong next = cpu.Rip + (ulong)instruction.Length;
        return cpu.Code64 ? next : (uint)next;
    }

    /// <summary>A general register of any width, zero-extended.</summary>
    internal static ulong Get(Vcpu cpu, Register register) => register switch
    {
        >= Register.RAX and <= Register.R15 => cpu.Gpr(register - Register.RAX),
        >= Register.EAX and <= Register.R15D => (uint)cpu.Gpr(register - Register.EAX),
        >= Register.AX and <= Register.R15W => (ushort)cpu.Gpr(register - Register.AX),
        >= Register.SPL and <= Register.R15L => (byte)cpu.Gpr(register - Register.SPL + 4),
        >= Register.AH and <= Register.BH => (byte)(cpu.Gpr(register - Register.AH) >> 8),
        >= Register.AL and <= Register.BL => (byte)cpu.Gpr(register - Register.AL),
        _ => 0,
    };

    /// <summary>Writes a general register of any width: 32 bits clear the upper half, 8 and 16 keep the rest.</summary>
    internal static void Set(Vcpu cpu, Register register, ulong value)
    {
        switch (register)
        {
            case >= Register.RAX and <= Register.R15:
                cpu.Gpr(register - Register.RAX) = value;
                break;
            case >= Register.EAX and <= Register.R15D:
                cpu.Gpr(register - Register.EAX) = (uint)value;
                break;
            case >= Register.AX and <= Register.R15W:
                SetPart(ref cpu.Gpr(register - Register.AX), value, 0xFFFF);
                break;
            case >= Register.SPL and <= Register.R15L:
                SetPart(ref cpu.Gpr(register - Register.SPL + 4), value, 0xFF);
                break;
            case >= Register.AH and <= Register.BH:
                SetPart(ref cpu.Gpr(register - Register.AH), value << 8, 0xFF00);
                break;
            case >= Register.AL and <= Register.BL:
                SetPart(ref cpu.Gpr(register - Register.AL), value, 0xFF);
                break;
            default:
                break;
        }
    }

    /// <summary>Writes a register with the width of an address or operand, as <see cref="Set"/> does.</summary>
    internal static void SetWidth(ref ulong register, ulong value, ulong mask)
    {
        if (mask == 0xFFFFFFFF)
        {
            register = (uint)value;
        }
        else
        {
            SetPart(ref register, value, mask);
        }
    }

    internal static void SetPart(ref ulong register, ulong value, ulong mask) => register = (register & ~mask) | (value & mask);

    /// <summary>Reads an operand of up to eight bytes that may be a register or memory.</summary>
    internal static bool Load(Vcpu cpu, in Instruction instruction, int operand, int bytes, out ulong value)
    {
        if (instruction.GetOpKind(operand) == OpKind.Register)
        {
            value = Get(cpu, instruction.GetOpRegister(operand)) & MaskOf(bytes);
            return true;
        }

        value = 0;
        return Address(cpu, instruction, bytes, write: false, out ulong linear) && ReadSized(cpu, linear, bytes, out value);
    }

    /// <summary>Writes an operand of up to eight bytes that may be a register (whole, whatever its width) or memory.</summary>
    internal static bool Store(Vcpu cpu, in Instruction instruction, int operand, int bytes, ulong value)
    {
        if (instruction.GetOpKind(operand) == OpKind.Register)
        {
            Set(cpu, instruction.GetOpRegister(operand), value);
            return true;
        }

        return Address(cpu, instruction, bytes, write: true, out ulong linear) && WriteSized(cpu, linear, bytes, value);
    }

    internal static Outcome StoreNext(Vcpu cpu, in Instruction instruction, int operand, int bytes, ulong value)
        => Store(cpu, instruction, operand, bytes, value) ? Outcome.Next : Outcome.Fault;

    /// <summary>The linear address of the explicit memory operand, checked.</summary>
    internal static bool Address(Vcpu cpu, in Instruction instruction, int length, bool write, out ulong linear)
    {
        ulong offset = cpu.Memory.EffectiveAddress(instruction, out int segment);
        return cpu.Memory.Linear(segment, offset, length, write, out linear);
    }

    internal static bool ReadSized(Vcpu cpu, ulong linear, int bytes, out ulong value)
    {
        bool done;
        switch (bytes)
        {
            case 1:
                done = cpu.Memory.Read(linear, out byte b);
                value = b;
                return done;
            case 2:
                done = cpu.Memory.Read(linear, out ushort w);
                value = w;
                return done;
            case 4:
                done = cpu.Memory.Read(linear, out uint d);
                value = d;
                return done;
            default:
                return cpu.Memory.Read(linear, out value);
        }
    }

    internal static bool WriteSized(Vcpu cpu, ulong linear, int bytes, ulong value) => bytes switch
    {
        1 => cpu.Memory.Write(linear, (byte)value),
        2 => cpu.Memory.Write(linear, (ushort)value),
        4 => cpu.Memory.Write(linear, (uint)value),
        _ => cpu.Memory.Write(linear, value),
    };

    /// <summary>The bits of RSP in use, by the stack's address size: SDM 1 6.2.3.</summary>
    internal static ulong StackMask(Vcpu cpu) => StackMask(cpu, cpu.Code64);

    internal static ulong StackMask(Vcpu cpu, bool code64)
        => code64 ? ulong.MaxValue : (cpu.Segments[Ss].Attributes & 0x4000) != 0 ? 0xFFFFFFFF : 0xFFFF;

    /// <summary>Pushes on the current stack, updating a copy of RSP: the caller stores it when nothing can fault any more.</summary>
    internal static bool Push(Vcpu cpu, ref ulong rsp, ulong value, int bytes)
    {
        ulong mask = StackMask(cpu);
        ulong top = (rsp - (ulong)bytes) & mask;
        if (!cpu.Memory.Linear(Ss, top, bytes, write: true, out ulong linear) || !WriteSized(cpu, linear, bytes, value))
        {
            return false;
        }

        SetPart(ref rsp, top, mask);
        return true;
    }

    /// <summary>Pops from the current stack, updating a copy of RSP.</summary>
    internal static bool Pop(Vcpu cpu, ref ulong rsp, int bytes, out ulong value)
    {
        ulong mask = StackMask(cpu);
        if (!cpu.Memory.Linear(Ss, rsp & mask, bytes, write: false, out ulong linear) || !ReadSized(cpu, linear, bytes, out value))
        {
            value = 0;
            return false;
        }

        SetPart(ref rsp, rsp + (ulong)bytes, mask);
        return true;
    }

    /// <summary>Sets CF PF AF ZF SF OF from a value in RFLAGS format; other flags are unchanged.</summary>
    internal static void SetArithmeticFlags(Vcpu cpu, ulong flags)
        => cpu.State->FlagsAx = ((flags & 0xD5) << 8) | 0x200 | ((flags >> 11) & 1);

    internal static void SetZeroFlag(Vcpu cpu, bool zero)
        => cpu.State->FlagsAx = zero ? cpu.State->FlagsAx | (FlagZero << 8) : cpu.State->FlagsAx & ~(FlagZero << 8);
}
