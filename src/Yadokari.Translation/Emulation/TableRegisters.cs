using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.Operands;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>GDTR, IDTR, LDTR and TR.</summary>
internal static unsafe class TableRegisters
{
    internal static void Add(HandlerTable table)
    {
        table.On(&StoreGdt, Mnemonic.Sgdt);
        table.On(&StoreIdt, Mnemonic.Sidt);
        table.On(&LoadGdt, Mnemonic.Lgdt);
        table.On(&LoadIdt, Mnemonic.Lidt);
        table.On(&StoreLdt, Mnemonic.Sldt);
        table.On(&StoreTask, Mnemonic.Str);
        table.On(&LoadLdt, Mnemonic.Lldt);
        table.On(&LoadTask, Mnemonic.Ltr);
    }

    /// <summary>Whether CR4.UMIP forbids user code to read system registers.</summary>
    internal static bool IsHidden(Vcpu cpu) => cpu.Cpl > 0 && (cpu.Cr4 & X86.Cr4.UMIP) != 0;

    private static Outcome StoreGdt(Vcpu cpu, in Instruction instruction) => StoreTable(cpu, instruction, cpu.Segments.Gdtr);

    private static Outcome StoreIdt(Vcpu cpu, in Instruction instruction) => StoreTable(cpu, instruction, cpu.Segments.Idtr);

    // SDM 2B SGDT, SIDT.
    private static Outcome StoreTable(Vcpu cpu, in Instruction instruction, TableState table)
    {
        if (IsHidden(cpu))
        {
            return cpu.Raise(Vector.GeneralProtection);
        }

        int length = instruction.Code is Op.Sgdt_m1664 or Op.Sidt_m1664 ? 10 : 6;
        if (!Address(cpu, instruction, length, write: true, out ulong linear))
        {
            return Outcome.Fault;
        }

        Span<byte> image = stackalloc byte[10];
        MemoryMarshal.Write(image, table.Limit);
        MemoryMarshal.Write(image[2..], table.Base);
        return cpu.Memory.WriteLinear(linear, image[..length]) ? Outcome.Next : Outcome.Fault;
    }

    private static Outcome LoadGdt(Vcpu cpu, in Instruction instruction)
    {
        if (!ReadTable(cpu, instruction, out TableState table))
        {
            return Outcome.Fault;
        }

        cpu.Segments.Gdtr = table;
        return Outcome.Next;
    }

    private static Outcome LoadIdt(Vcpu cpu, in Instruction instruction)
    {
        if (!ReadTable(cpu, instruction, out TableState table))
        {
            return Outcome.Fault;
        }

        cpu.Segments.Idtr = table;
        return Outcome.Next;
    }

    // SDM 2A LGDT/LIDT: with 16-bit operands the base has 24 bits.
    private static bool ReadTable(Vcpu cpu, in Instruction instruction, out TableState table)
    {
        table = default;
        if (cpu.Cpl > 0)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        bool wide = instruction.Code is Op.Lgdt_m1664 or Op.Lidt_m1664;
        bool narrow = instruction.Code is Op.Lgdt_m1632_16 or Op.Lidt_m1632_16;
        if (!Address(cpu, instruction, wide ? 10 : 6, write: false, out ulong linear)
            || !cpu.Memory.Read(linear, out ushort limit)
            || !ReadSized(cpu, linear + 2, wide ? 8 : 4, out ulong start))
        {
            return false;
        }

        table = new TableState(narrow ? start & 0xFFFFFF : start, limit);
        return IsCanonical(start) || Refuse(cpu, Vector.GeneralProtection);
    }

    private static Outcome StoreLdt(Vcpu cpu, in Instruction instruction) => StoreSelector(cpu, instruction, cpu.Segments.Ldtr.Selector);

    private static Outcome StoreTask(Vcpu cpu, in Instruction instruction) => StoreSelector(cpu, instruction, cpu.Segments.Tr.Selector);

    // SDM 2B SLDT, STR.
    private static Outcome StoreSelector(Vcpu cpu, in Instruction instruction, ushort selector)
    {
        if (!cpu.ProtectedMode)
        {
            return cpu.Raise(Vector.InvalidOpcode);
        }

        return IsHidden(cpu) ? cpu.Raise(Vector.GeneralProtection) : StoreNext(cpu, instruction, 0, 2, selector);
    }

    // SDM 2A LLDT.
    private static Outcome LoadLdt(Vcpu cpu, in Instruction instruction)
    {
        if (!ReadSystemSelector(cpu, instruction, out ushort selector))
        {
            return Outcome.Fault;
        }

        if (IsNull(selector))
        {
            cpu.Segments.Ldtr = NullSegment(selector);
            return Outcome.Next;
        }

        if ((selector & 4) != 0)
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!FetchSystem(cpu, selector, out Descriptor descriptor, out _))
        {
            return Outcome.Fault;
        }

        if (descriptor.Type != Descriptor.Ldt)
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!descriptor.Present)
        {
            return cpu.Raise(Vector.SegmentNotPresent, ErrorOf(selector));
        }

        if (cpu.LongMode && !IsCanonical(descriptor.Base))
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        cpu.Segments.Ldtr = descriptor.ToSegment(selector, setType: 0);
        return Outcome.Next;
    }

    // SDM 2A LTR: marks the task busy.
    private static Outcome LoadTask(Vcpu cpu, in Instruction instruction)
    {
        if (!ReadSystemSelector(cpu, instruction, out ushort selector))
        {
            return Outcome.Fault;
        }

        if (IsNull(selector) || (selector & 4) != 0)
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!FetchSystem(cpu, selector, out Descriptor descriptor, out ulong linear))
        {
            return Outcome.Fault;
        }

        bool available = descriptor.Type == Descriptor.TssAvailable32 || (descriptor.Type == Descriptor.TssAvailable16 && !cpu.LongMode);
        if (!available)
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!descriptor.Present)
        {
            return cpu.Raise(Vector.SegmentNotPresent, ErrorOf(selector));
        }

        if (cpu.LongMode && !IsCanonical(descriptor.Base))
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!cpu.Memory.WriteSystem(linear + 5, (byte)(descriptor.Attributes | 2)))
        {
            return Outcome.Fault;
        }

        cpu.Segments.Tr = descriptor.ToSegment(selector, setType: 2);
        return Outcome.Next;
    }

    private static bool ReadSystemSelector(Vcpu cpu, in Instruction instruction, out ushort selector)
    {
        selector = 0;
        if (!cpu.ProtectedMode)
        {
            return Refuse(cpu, Vector.InvalidOpcode);
        }

        if (cpu.Cpl > 0)
        {
            return Refuse(cpu, Vector.GeneralProtection);
        }

        bool done = Load(cpu, instruction, 0, 2, out ulong value);
        selector = (ushort)value;
        return done;
    }
}
