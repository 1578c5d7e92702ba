using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.X86;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// The x87's environment and state in memory (SDM 1 8.1.10): FNSTENV, FLDENV, FNSAVE, FRSTOR. Instruction and operand pointers would be
/// the host's: they are saved as 0.
/// </summary>
internal static unsafe partial class Emulator
{
    private static void AddX87State(Table table)
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
        if (!CheckX87(cpu) || !Address(cpu, instruction, field * 7, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        Span<byte> image = stackalloc byte[28];
        PutEnvironment(cpu, image, field);
        if (!cpu.WriteLinear(linear, image[..(field * 7)]))
        {
            return Outcome.Fault;
        }

        // SAFETY: the area starts with the x87's control word.
        *(ushort*)cpu.XsaveArea |= 0x3F;
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
            || !Address(cpu, instruction, field * 7, write: false, out ulong linear)
            || !cpu.ReadLinear(linear, image[..(field * 7)]))
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
        if (!CheckX87(cpu) || !Address(cpu, instruction, length, write: true, out ulong linear))
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

        if (!cpu.WriteLinear(linear, image[..length]))
        {
            return Outcome.Fault;
        }

        // FNINIT leaves the registers' bits alone and tags them empty: being initial would clear them.
        Turn(area, -((area[3] >> 3) & 7));
        MemoryMarshal.Write(area, 0x37Ful);
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
            || !Address(cpu, instruction, length, write: false, out ulong linear)
            || !cpu.ReadLinear(linear, image[..length]))
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

    private static bool CheckX87(Vcpu cpu)
    {
        if ((cpu.Cr0 & (Cr0.TS | Cr0.EM)) != 0)
        {
            return Refuse(cpu, Vector.DeviceNotAvailable);
        }

        MakeInitial(cpu);
        return true;
    }

    // Bit 7 of the status word: an exception that is not masked waits.
    private static bool CheckPendingX87(Vcpu cpu) => (cpu.XsaveArea[2] & 0x80) == 0 || Refuse(cpu, Vector.X87);

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

        image[(field * 3)..(field * 7)].Clear();
        if (field == 4)
        {
            MemoryMarshal.Write(image[24..], 0xFFFF0000);
        }
    }

    private static void TakeEnvironment(Vcpu cpu, ReadOnlySpan<byte> image, int field)
    {
        ushort control = MemoryMarshal.Read<ushort>(image);
        int status = MemoryMarshal.Read<ushort>(image[field..]) & 0x7F7F;
        ushort tags = MemoryMarshal.Read<ushort>(image[(field * 2)..]);
        if ((status & ~control & 0x3F) != 0)
        {
            status |= 0x8080;
        }

        byte valid = 0;
        for (int i = 0; i < 8; i++)
        {
            valid |= (byte)(((tags >> (i * 2)) & 3) != 3 ? 1 << i : 0);
        }

        Span<byte> area = AreaOf(cpu);
        int top = (area[3] >> 3) & 7;
        area[..MxcsrOffset].Clear();
        MemoryMarshal.Write(area, (ushort)(control | 0x40));
        MemoryMarshal.Write(area[2..], (ushort)status);
        area[4] = valid;
        Turn(area, ((status >> 11) & 7) - top);
        InUse(cpu) |= ComponentX87;
    }

    // The area holds registers from the top of the stack on: they keep their places in the processor when the top moves.
    private static void Turn(Span<byte> area, int by)
    {
        Span<byte> registers = area.Slice(32, 128);
        Span<byte> old = stackalloc byte[128];
        registers.CopyTo(old);
        for (int i = 0; i < 8; i++)
        {
            old.Slice(((i + by) & 7) * 16, 16).CopyTo(registers[(i * 16)..]);
        }
    }

    /// <summary>Two bits a register from its content: valid, zero, special, empty (SDM 1 8.1.7).</summary>
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
