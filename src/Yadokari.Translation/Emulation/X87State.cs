using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.X86;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.XsaveInstructions;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// The x87's environment and state in memory (SDM 1 8.1.10): FNSTENV, FLDENV, FNSAVE, FRSTOR.
/// </summary>
internal static unsafe class X87State
{
    internal static void Add(HandlerTable table)
    {
        table.On(&StoreEnvironment, Mnemonic.Fnstenv, Mnemonic.Fstenv);
        table.On(&LoadEnvironment, Mnemonic.Fldenv);
        table.On(&SaveX87, Mnemonic.Fnsave, Mnemonic.Fsave);
        table.On(&RestoreX87, Mnemonic.Frstor);
    }

    // SDM 2A FSTENV: masks all exceptions afterwards.
    private static Outcome StoreEnvironment(Vcpu cpu, in Instruction instruction)
    {
        int field = FieldBytes(instruction);
        if (!CheckX87(cpu) || !EnvironmentAddress(cpu, instruction, field * 7, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        Span<byte> image = stackalloc byte[28];
        PutEnvironment(cpu, image, field);
        if (!cpu.Memory.WriteLinear(linear, image[..(field * 7)]))
        {
            return Outcome.Fault;
        }

        // With all exceptions masked, none is pending.
        Span<byte> area = AreaOf(cpu);
        area[0] |= ExceptionMasks;
        Summarize(area);
        InUse(cpu) |= ComponentX87;
        return Outcome.Next;
    }

    // SDM 2A FLDENV.
    private static Outcome LoadEnvironment(Vcpu cpu, in Instruction instruction)
    {
        int field = FieldBytes(instruction);
        Span<byte> image = stackalloc byte[28];
        if (!CheckX87(cpu)
            || !CheckPendingX87(cpu)
            || !EnvironmentAddress(cpu, instruction, field * 7, write: false, out ulong linear)
            || !cpu.Memory.ReadLinear(linear, image[..(field * 7)]))
        {
            return Outcome.Fault;
        }

        TakeEnvironment(cpu, image, field);
        return Outcome.Next;
    }

    // SDM 2A FSAVE: initializes the x87 afterwards.
    private static Outcome SaveX87(Vcpu cpu, in Instruction instruction)
    {
        int field = FieldBytes(instruction);
        int length = (field * 7) + 80;
        if (!CheckX87(cpu) || !EnvironmentAddress(cpu, instruction, length, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        Span<byte> image = stackalloc byte[108];
        PutEnvironment(cpu, image, field);
        Span<byte> area = AreaOf(cpu);
        for (int i = 0; i < 8; i++)
        {
            area.Slice(32 + (i * 16), 10).CopyTo(image[((field * 7) + (i * 10))..]);
        }

        if (!cpu.Memory.WriteLinear(linear, image[..length]))
        {
            return Outcome.Fault;
        }

        // FNINIT keeps the registers' contents and tags them empty; the initial state of the XSAVE component would clear them.
        Turn(area, -((area[3] >> 3) & 7));
        MemoryMarshal.Write(area, 0x37Ful);
        cpu.X87.Pointers = default;
        InUse(cpu) |= ComponentX87;
        return Outcome.Next;
    }

    // SDM 2A FRSTOR.
    private static Outcome RestoreX87(Vcpu cpu, in Instruction instruction)
    {
        int field = FieldBytes(instruction);
        int length = (field * 7) + 80;
        Span<byte> image = stackalloc byte[108];
        if (!CheckX87(cpu)
            || !CheckPendingX87(cpu)
            || !EnvironmentAddress(cpu, instruction, length, write: false, out ulong linear)
            || !cpu.Memory.ReadLinear(linear, image[..length]))
        {
            return Outcome.Fault;
        }

        TakeEnvironment(cpu, image, field);
        Span<byte> area = AreaOf(cpu);
        for (int i = 0; i < 8; i++)
        {
            Span<byte> register = area.Slice(32 + (i * 16), 16);
            register.Clear();
            image.Slice((field * 7) + (i * 10), 10).CopyTo(register);
        }

        return Outcome.Next;
    }

    private static int FieldBytes(in Instruction instruction)
        => instruction.Code is Op.Fnstenv_m14byte or Op.Fstenv_m14byte or Op.Fldenv_m14byte or Op.Fnsave_m94byte or Op.Fsave_m94byte or Op.Frstor_m94byte ? 2 : 4;

    // Processors check the first field, then the last byte, then the rest: the order decides the page that is reported, and between #PF and #GP.
    private static bool EnvironmentAddress(Vcpu cpu, in Instruction instruction, int length, bool write, out ulong linear)
    {
        int first = FieldBytes(instruction);
        return Address(cpu, instruction, first, write, out linear)
            && cpu.Memory.ProbeLinear(linear, first, write)
            && Address(cpu, instruction, length, write, out linear)
            && cpu.Memory.ProbeLinear(linear + (ulong)length - 1, 1, write);
    }

    private static bool CheckX87(Vcpu cpu)
    {
        if ((cpu.Cr0 & (Cr0.TS | Cr0.EM)) != 0)
        {
            return Refuse(cpu, Vector.DeviceNotAvailable);
        }

        MakeInitial(cpu);
        return true;
    }

    internal static bool CheckPendingX87(Vcpu cpu) => !cpu.X87.HasPending || Refuse(cpu, Vector.X87);

    private const byte ExceptionMasks = 0x3F;

    // The defined bits of the control word, and the one that is always set (SDM 1 8.1.5).
    internal static ushort ControlWord(ushort value) => (ushort)((value & 0x1F3F) | 0x40);

    // The exception summary and its copy in the busy bit are computed from flags and masks (SDM 1 8.1.3), independent of the loaded value.
    internal static void Summarize(Span<byte> area)
    {
        byte pending = (area[2] & ~area[0] & ExceptionMasks) != 0 ? (byte)0x80 : (byte)0;
        area[2] = (byte)((area[2] & 0x7F) | pending);
        area[3] = (byte)((area[3] & 0x7F) | pending);
    }

    // Fields of two or four bytes: control, status, tags, then pointers.
    private static void PutEnvironment(Vcpu cpu, Span<byte> image, int field)
    {
        Span<byte> area = AreaOf(cpu);
        ushort status = MemoryMarshal.Read<ushort>(area[2..]);
        Span<ushort> words = [MemoryMarshal.Read<ushort>(area), status, FullTags(area, (status >> 11) & 7)];
        for (int i = 0; i < 3; i++)
        {
            if (field == 4)
            {
                MemoryMarshal.Write(image[(i * 4)..], 0xFFFF0000 | words[i]);
            }
            else
            {
                MemoryMarshal.Write(image[(i * 2)..], words[i]);
            }
        }

        PutPointers(cpu, image[(field * 3)..], field);
    }

    // SDM 1 figures 8-9 to 8-12: selectors and offsets, or in real and virtual-8086 mode linear addresses.
    private static void PutPointers(Vcpu cpu, Span<byte> image, int field)
    {
        ref X87Pointers x87 = ref cpu.X87.Pointers;
        bool real = !cpu.ProtectedMode;
        uint code = (uint)x87.Instruction + (real ? (uint)x87.CodeSelector << 4 : 0);
        uint data = (uint)x87.Operand + (real ? (uint)x87.DataSelector << 4 : 0);
        (uint codeSelector, uint dataSelector) = HostX87.HasSelectors ? (x87.CodeSelector, x87.DataSelector) : (0u, 0u);
        Span<uint> fields = (real, field) switch
        {
            (true, _) => [(ushort)code, ((code >> 16) << 12) | x87.Opcode, (ushort)data, (data >> 16) << 12],
            (false, 4) => [code, ((uint)x87.Opcode << 16) | codeSelector, data, 0xFFFF0000 | dataSelector],
            _ => [code, codeSelector, data, dataSelector],
        };
        for (int i = 0; i < 4; i++)
        {
            if (field == 4)
            {
                MemoryMarshal.Write(image[(i * 4)..], fields[i]);
            }
            else
            {
                MemoryMarshal.Write(image[(i * 2)..], (ushort)fields[i]);
            }
        }
    }

    private static void TakePointers(Vcpu cpu, ReadOnlySpan<byte> image, int field)
    {
        Span<uint> fields = stackalloc uint[4];
        for (int i = 0; i < 4; i++)
        {
            fields[i] = field == 4 ? MemoryMarshal.Read<uint>(image[(i * 4)..]) : MemoryMarshal.Read<ushort>(image[(i * 2)..]);
        }

        cpu.X87.Pointers = !cpu.ProtectedMode
            ? new X87Pointers
            {
                Instruction = (ushort)fields[0] | ((fields[1] >> 12) << 16),
                Opcode = (ushort)(fields[1] & 0x7FF),
                Operand = (ushort)fields[2] | ((fields[3] >> 12) << 16),
            }
            : new X87Pointers
            {
                Instruction = fields[0],
                CodeSelector = (ushort)fields[1],
                Opcode = (ushort)(fields[1] >> 16 & 0x7FF),
                Operand = fields[2],
                DataSelector = (ushort)fields[3],
            };
    }

    private static void TakeEnvironment(Vcpu cpu, ReadOnlySpan<byte> image, int field)
    {
        int status = MemoryMarshal.Read<ushort>(image[field..]);
        ushort tags = MemoryMarshal.Read<ushort>(image[(field * 2)..]);
        byte valid = 0;
        for (int i = 0; i < 8; i++)
        {
            valid |= (byte)(((tags >> (i * 2)) & 3) != 3 ? 1 << i : 0);
        }

        Span<byte> area = AreaOf(cpu);
        int top = (area[3] >> 3) & 7;
        area[..MxcsrOffset].Clear();
        MemoryMarshal.Write(area, ControlWord(MemoryMarshal.Read<ushort>(image)));
        MemoryMarshal.Write(area[2..], (ushort)status);
        area[4] = valid;
        Summarize(area);
        TakePointers(cpu, image[(field * 3)..], field);
        Turn(area, ((status >> 11) & 7) - top);
        InUse(cpu) |= ComponentX87;
    }

    // The image has the registers in stack order, from the top; the physical order in the processor does not depend on the top.
    internal static void Turn(Span<byte> area, int by)
    {
        Span<byte> registers = area.Slice(32, 128);
        Span<byte> old = stackalloc byte[128];
        registers.CopyTo(old);
        for (int i = 0; i < 8; i++)
        {
            old.Slice(((i + by) & 7) * 16, 16).CopyTo(registers[(i * 16)..]);
        }
    }

    /// <summary>The tag word, two bits for each register by its content: valid, zero, special, empty (SDM 1 8.1.7).</summary>
    private static ushort FullTags(ReadOnlySpan<byte> area, int top)
    {
        int tags = 0;
        for (int physical = 0; physical < 8; physical++)
        {
            int tag = 3;
            if ((area[4] >> physical & 1) != 0)
            {
                ReadOnlySpan<byte> register = area.Slice(32 + (((physical - top) & 7) * 16), 10);
                ulong significand = MemoryMarshal.Read<ulong>(register);
                int exponent = MemoryMarshal.Read<ushort>(register[8..]) & 0x7FFF;
                tag = exponent == 0 ? significand == 0 ? 1 : 2
                    : exponent == 0x7FFF || significand >> 63 == 0 ? 2
                    : 0;
            }

            tags |= tag << (physical * 2);
        }

        return (ushort)tags;
    }
}
