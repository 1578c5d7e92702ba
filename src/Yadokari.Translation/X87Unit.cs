using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>
/// What of a vCPU's x87 the XSAVE area does not have: its pointers and opcode, which translated code leaves as notes, and its exceptions that
/// wait for the next instruction that looks. Of the vCPU's thread.
/// </summary>
internal sealed unsafe class X87Unit(Vcpu cpu)
{
    /// <summary>
    /// Exact while C# runs. The area at <see cref="Vcpu.XsaveArea"/> has none: what translated code leaves there are the host's.
    /// </summary>
    public ref X87Pointers Pointers
    {
        get
        {
            cpu.FetchExtended();
            return ref _pointers;
        }
    }

    private X87Pointers _pointers;

    /// <summary>
    /// Translated code ran x87 instructions: which was the last. Before anything else is done about the exit, for the selectors are still
    /// those that the instructions had, but after SYSCALL and SYSRET.
    /// </summary>
    public void TakePointers()
    {
        if (cpu.State->X87Last != 0)
        {
            TakeNote(cpu.State->X87Last, cpu.State->X87Page);
            cpu.State->X87Last = 0;
        }

        if (cpu.State->X87Operand != X87Pointers.NoOperand && MovesOperand)
        {
            Pointers.Operand = cpu.State->X87Operand;
            Pointers.DataSelector = cpu.State->X87Segment == X87Pointers.NoSegment ? (ushort)0 : (ushort)cpu.State->Selectors[cpu.State->X87Segment];
        }

        cpu.State->X87Operand = X87Pointers.NoOperand;
    }

    private bool MovesOperand => !HostX87.OperandOnlyWithException || HasPending;

    private void TakeNote(uint note, ulong page)
    {
        if (X87Pointers.IsInitialized(note))
        {
            Pointers = default;
            return;
        }

        ulong linear = page + X87Pointers.OffsetOf(note);
        bool left = cpu.State->FastCallLevel != 0 && X87Pointers.IsUser(note) != (cpu.State->FastCallLevel == 4);
        Pointers.Instruction = cpu.Code64 ? linear : (uint)(linear - cpu.Segments[1].Base);
        Pointers.Opcode = X87Pointers.OpcodeOf(note);
        Pointers.CodeSelector = left ? cpu.Segments[1].Selector : (ushort)cpu.State->Selectors[1];
    }

    /// <summary>Translated code left a block at an instruction that is not done: what x87 instructions before it in the block would have noted later.</summary>
    public void TakeNotes(Block block, ulong page, int offset)
    {
        if (block.X87Notes is not { } notes)
        {
            return;
        }

        int last = notes.Length - 1;
        while (last >= 0 && (int)X87Pointers.OffsetOf(notes[last].Note) >= offset)
        {
            last--;
        }

        if (last < 0)
        {
            return;
        }

        TakeNote(notes[last].Note, page);
        while (last >= 0 && !X87Pointers.HasOperand(notes[last].Note) && !X87Pointers.IsInitialized(notes[last].Note))
        {
            last--;
        }

        if (last >= 0 && X87Pointers.HasOperand(notes[last].Note) && offset < notes[last].OperandUntil && MovesOperand)
        {
            ulong rip = cpu.State->Rip;
            cpu.SetLinearRip(page + X87Pointers.OffsetOf(notes[last].Note));
            if (cpu.Fetch.TryDecode(out Instruction instruction))
            {
                Pointers.Operand = cpu.Memory.EffectiveAddress(instruction, out int segment);
                Pointers.DataSelector = (ushort)cpu.State->Selectors[segment];
            }

            cpu.ClearRaised();
            cpu.State->Rip = rip;
        }
    }

    /// <summary>Puts the pointers where they stand in an XSAVE area in the 64-bit format (SDM 1 10.5.1).</summary>
    public void Store(Span<byte> area)
    {
        MemoryMarshal.Write(area[6..], Pointers.Opcode);
        MemoryMarshal.Write(area[8..], Pointers.Instruction);
        MemoryMarshal.Write(area[16..], Pointers.Operand);
    }

    /// <summary>Takes the pointers from an XSAVE area in the 64-bit format, which has no selectors.</summary>
    public void Load(ReadOnlySpan<byte> area)
    {
        bool present = (MemoryMarshal.Read<ulong>(area[512..]) & 1) != 0;
        Pointers = !present ? default : new X87Pointers
        {
            Opcode = (ushort)(MemoryMarshal.Read<ushort>(area[6..]) & 0x7FF),
            Instruction = MemoryMarshal.Read<ulong>(area[8..]),
            Operand = MemoryMarshal.Read<ulong>(area[16..]),
        };
    }

    /// <summary>An exception of the x87 that is not masked waits for the next instruction that looks: status word, bit 7.</summary>
    public bool HasPending
    {
        // SAFETY: the window holds the area whole; XSTATE_BV stands at offset 512 (SDM 1 13.4.2).
        get => (cpu.XsaveArea[2] & 0x80) != 0 && (*(ulong*)(cpu.XsaveArea + 512) & 1) != 0;
    }

    /// <summary>
    /// Whether the instruction at RIP, whose operand is not to be had as it is, takes a pending exception of the x87 before it looks at
    /// memory (SDM 1 8.6); or its fetch fails. Raised then.
    /// </summary>
    public bool RaisesPending()
        => HasPending
            && (!cpu.Fetch.TryDecode(out Instruction instruction)
                || (InstructionClasses.WaitsForX87(instruction) && cpu.Raise(Vector.X87) == Vcpu.Outcome.Fault));
}
