using Iced.Intel;
using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.InterruptDelivery;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Hardware task switches (SDM 3A chapter 8).</summary>
internal static unsafe class TaskSwitches
{
    private enum TaskSwitchKind
    {
        Jump,
        Call,

        /// <summary>By a task gate in the IDT.</summary>
        Interrupt,

        /// <summary>IRET with NT set.</summary>
        Return,
    }

    /// <summary>Layout of a task state segment (SDM 3A figures 8-2 and 8-10).</summary>
    private readonly record struct TaskLayout(bool Wide, uint Limit, uint Cr3, uint Rip, uint Flags, uint Gpr, uint Segments, int SegmentCount, uint Ldt)
    {
        public static readonly TaskLayout Of32 = new(true, 0x67, 0x1C, 0x20, 0x24, 0x28, 0x48, 6, 0x60);

        public static readonly TaskLayout Of16 = new(false, 0x2B, 0, 0x0E, 0x10, 0x12, 0x22, 4, 0x2A);

        public uint Step => Wide ? 4u : 2u;
    }

    internal static Outcome DeliverToTask(Vcpu cpu, ushort selector, uint? errorCode, uint external)
        => SwitchTask(cpu, selector, TaskSwitchKind.Interrupt, cpu.Rip, errorCode, external);

    internal static Outcome JumpToTask(Vcpu cpu, in Instruction instruction, ushort selector, in Descriptor target, bool isCall)
    {
        if (target.Dpl < cpu.Cpl || target.Dpl < (selector & 3))
        {
            return cpu.Raise(Vector.GeneralProtection, ErrorOf(selector));
        }

        if (!target.Present)
        {
            return cpu.Raise(Vector.SegmentNotPresent, ErrorOf(selector));
        }

        ushort task = target.Type == Descriptor.TaskGate ? target.GateSelector : selector;
        return SwitchTask(cpu, task, isCall ? TaskSwitchKind.Call : TaskSwitchKind.Jump, NextRip(cpu, instruction), null, 0);
    }

    internal static Outcome ReturnFromTask(Vcpu cpu, in Instruction instruction)
        => cpu.Memory.ReadSystem(cpu.Segments.Tr.Base, out ushort link)
            ? SwitchTask(cpu, link, TaskSwitchKind.Return, NextRip(cpu, instruction), null, 0)
            : Outcome.Fault;

    /// <summary>
    /// Switches tasks (SDM 3A 8.3). Faults before the new task is current belong to the old task and return <see cref="Outcome.Fault"/>; later faults
    /// belong to the new task and are delivered here.
    /// </summary>
    private static Outcome SwitchTask(Vcpu cpu, ushort selector, TaskSwitchKind kind, ulong next, uint? errorCode, uint external)
    {
        bool returns = kind == TaskSwitchKind.Return;
        Vector refusal = kind is TaskSwitchKind.Jump or TaskSwitchKind.Call ? Vector.GeneralProtection : Vector.InvalidTss;
        if ((selector & 4) != 0 || IsNull(selector))
        {
            return cpu.Raise(refusal, ErrorOf(selector, external));
        }

        if (!Fetch(cpu, selector, refusal, external, out Descriptor descriptor, out ulong descriptorAddress))
        {
            return Outcome.Fault;
        }

        bool fits = returns
            ? descriptor.Type is Descriptor.TssBusy16 or Descriptor.TssBusy32
            : descriptor.Type is Descriptor.TssAvailable16 or Descriptor.TssAvailable32;
        if (!fits)
        {
            return cpu.Raise(refusal, ErrorOf(selector, external));
        }

        if (!descriptor.Present)
        {
            return cpu.Raise(Vector.SegmentNotPresent, ErrorOf(selector, external));
        }

        TaskLayout layout = (descriptor.Type & 8) != 0 ? TaskLayout.Of32 : TaskLayout.Of16;
        if (descriptor.Limit < layout.Limit)
        {
            return cpu.Raise(Vector.InvalidTss, ErrorOf(selector, external));
        }

        // The new TSS is read, and the old task's descriptor found, before anything is written.
        Span<uint> gpr = stackalloc uint[8];
        Span<ushort> selectors = stackalloc ushort[6];
        selectors.Clear();
        uint cr3 = 0;
        uint debug = 0;
        ulong task = descriptor.Base;
        bool read = Read(cpu, layout, task, layout.Rip, out uint rip) & Read(cpu, layout, task, layout.Flags, out uint flags)
            & cpu.Memory.ReadSystem(task + layout.Ldt, out ushort ldt);
        for (uint i = 0; i < 8 && read; i++)
        {
            read = Read(cpu, layout, task, layout.Gpr + (i * layout.Step), out gpr[(int)i]);
        }

        for (uint i = 0; i < layout.SegmentCount && read; i++)
        {
            read = cpu.Memory.ReadSystem(task + layout.Segments + (i * layout.Step), out selectors[(int)i]);
        }

        read = read && (!layout.Wide || (cpu.Memory.ReadSystem(task + layout.Cr3, out cr3) && cpu.Memory.ReadSystem(task + 0x64, out debug)));
        ushort old = cpu.Segments.Tr.Selector;
        if (!read || !Fetch(cpu, old, Vector.InvalidTss, external, out Descriptor oldDescriptor, out ulong oldAddress))
        {
            return Outcome.Fault;
        }

        ulong oldFlags = cpu.Rflags & (returns ? ~FlagNestedTask : ulong.MaxValue);
        bool written = SaveTask(cpu, (cpu.Segments.Tr.Attributes & 8) != 0 ? TaskLayout.Of32 : TaskLayout.Of16, next, oldFlags)
            && (kind is TaskSwitchKind.Call or TaskSwitchKind.Interrupt || cpu.Memory.WriteSystem(oldAddress + 5, (byte)(oldDescriptor.Attributes & ~2)))
            && (kind is TaskSwitchKind.Jump or TaskSwitchKind.Return || cpu.Memory.WriteSystem(task, old))
            && (returns || cpu.Memory.WriteSystem(descriptorAddress + 5, (byte)(descriptor.Attributes | 2)));
        if (!written)
        {
            return Outcome.Fault;
        }

        // From here on, the new task is current.
        cpu.Segments.Tr = descriptor.ToSegment(selector, setType: 2);
        cpu.Cr0 |= X86.Cr0.TS;
        if (layout.Wide && (cpu.Cr0 & X86.Cr0.PG) != 0)
        {
            cpu.Mmu.LoadPageTables(cr3, keep: false);
        }

        for (int i = 0; i < 8; i++)
        {
            cpu.Gpr(i) = layout.Wide ? gpr[i] : 0xFFFF0000 | gpr[i];
        }

        ulong newFlags = layout.Wide ? flags & 0x3F7FD7 : flags & 0x7FD7;
        cpu.Rflags = newFlags | (kind is TaskSwitchKind.Call or TaskSwitchKind.Interrupt ? FlagNestedTask : 0) | 2;
        cpu.Rip = rip;
        cpu.Dr[7] &= ~0x155ul; // The local breakpoint enables.
        bool entered = EnterTask(cpu, selectors, ldt, external)
            && PushTaskError(cpu, layout, errorCode)
            && (cpu.Rip <= cpu.Segments[Cs].Limit || Refuse(cpu, Vector.GeneralProtection, external));
        if (entered && (debug & 1) != 0)
        {
            cpu.Dr[6] |= X86.DebugRegisters.BT;
            entered = Refuse(cpu, Vector.Debug);
        }

        return entered ? Outcome.Jumped : DeliverRaised(cpu);
    }

    private static bool SaveTask(Vcpu cpu, in TaskLayout layout, ulong next, ulong flags)
    {
        ulong task = cpu.Segments.Tr.Base;
        bool done = Write(cpu, layout, task, layout.Rip, next) && Write(cpu, layout, task, layout.Flags, flags);
        for (uint i = 0; i < 8 && done; i++)
        {
            done = Write(cpu, layout, task, layout.Gpr + (i * layout.Step), cpu.Gpr((int)i));
        }

        for (uint i = 0; i < layout.SegmentCount && done; i++)
        {
            done = cpu.Memory.WriteSystem(task + layout.Segments + (i * layout.Step), cpu.Segments[(int)i].Selector);
        }

        return done;
    }

    // Loads LDTR, then the segment registers (SDM 3A table 8-1). A segment that can't be loaded is the error code of #TS.
    private static bool EnterTask(Vcpu cpu, ReadOnlySpan<ushort> selectors, ushort ldt, uint external)
    {
        // The selectors are loaded first, with null descriptors, which a segment keeps if loading its descriptor faults.
        for (int i = Es; i <= Gs; i++)
        {
            cpu.SetSegment(i, NullSegment(selectors[i], i == Ss ? selectors[Cs] & 3 : 0));
        }

        cpu.Segments.Ldtr = NullSegment(ldt);
        cpu.Cpl = cpu.Virtual8086 ? 3 : selectors[Cs] & 3;
        if (!IsNull(ldt))
        {
            if ((ldt & 4) != 0)
            {
                return Refuse(cpu, Vector.InvalidTss, ErrorOf(ldt, external));
            }

            if (!Fetch(cpu, ldt, Vector.InvalidTss, external, out Descriptor table, out _))
            {
                return false;
            }

            if (table.Type != Descriptor.Ldt || !table.Present)
            {
                return Refuse(cpu, Vector.InvalidTss, ErrorOf(ldt, external));
            }

            cpu.Segments.Ldtr = table.ToSegment(ldt, setType: 0);
        }

        if (cpu.Virtual8086)
        {
            for (int i = Es; i <= Gs; i++)
            {
                cpu.SetSegment(i, RealSegment(cpu, i, selectors[i]));
            }

            return true;
        }

        return EnterTaskSegment(cpu, Cs, selectors[Cs], external) && EnterTaskSegment(cpu, Ss, selectors[Ss], external)
            && EnterTaskSegment(cpu, Es, selectors[Es], external) && EnterTaskSegment(cpu, Ds, selectors[Ds], external)
            && EnterTaskSegment(cpu, Fs, selectors[Fs], external) && EnterTaskSegment(cpu, Gs, selectors[Gs], external);
    }

    private static bool EnterTaskSegment(Vcpu cpu, int index, ushort selector, uint external)
    {
        if (IsNull(selector))
        {
            return index is not (Cs or Ss) || Refuse(cpu, Vector.InvalidTss, ErrorOf(selector, external));
        }

        if (!Fetch(cpu, selector, Vector.InvalidTss, external, out Descriptor descriptor, out ulong address))
        {
            return false;
        }

        int rpl = selector & 3;
        bool allowed = index switch
        {
            Cs => descriptor.IsCode && (descriptor.IsConforming ? descriptor.Dpl <= rpl : descriptor.Dpl == rpl),
            Ss => descriptor.IsWritable && descriptor.Dpl == rpl && rpl == cpu.Cpl,
            _ => descriptor.IsReadable && (descriptor.IsConforming || (rpl <= descriptor.Dpl && cpu.Cpl <= descriptor.Dpl)),
        };
        if (!allowed)
        {
            return Refuse(cpu, Vector.InvalidTss, ErrorOf(selector, external));
        }

        if (!descriptor.Present)
        {
            return Refuse(cpu, index == Ss ? Vector.StackFault : Vector.SegmentNotPresent, ErrorOf(selector, external));
        }

        cpu.SetSegment(index, descriptor.ToSegment(selector));
        return MarkAccessed(cpu, descriptor, address);
    }

    private static bool PushTaskError(Vcpu cpu, in TaskLayout layout, uint? errorCode)
        => errorCode is not { } error || Push(cpu, ref cpu.Rsp, error, layout.Wide ? 4 : 2);

    private static bool Read(Vcpu cpu, in TaskLayout layout, ulong task, uint offset, out uint value)
    {
        if (layout.Wide)
        {
            return cpu.Memory.ReadSystem(task + offset, out value);
        }

        bool done = cpu.Memory.ReadSystem(task + offset, out ushort narrow);
        value = narrow;
        return done;
    }

    private static bool Write(Vcpu cpu, in TaskLayout layout, ulong task, uint offset, ulong value)
        => layout.Wide ? cpu.Memory.WriteSystem(task + offset, (uint)value) : cpu.Memory.WriteSystem(task + offset, (ushort)value);
}
