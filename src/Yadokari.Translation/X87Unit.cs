using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>
/// The x87 state of a vCPU that is not in the XSAVE area: the pointers and the opcode, which are derived from notes of translated code, and
/// pending exceptions, which the next waiting instruction takes. On the vCPU's thread.
/// </summary>
internal sealed unsafe class X87Unit(Vcpu cpu)
{
    /// <summary>
    /// The pointers, exact while C# runs. Those in <see cref="Vcpu.XsaveArea"/> are the host's.
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
    /// Updates the pointers after translated code ran x87 instructions. Must be called first after an exit, while the selectors are those of the
    /// instructions; only SYSCALL and SYSRET have changed them.
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

    /// <summary>
    /// Updates the pointers after translated code left a block at an instruction that has not completed, from the x87 instructions before it
    /// whose notes would have been stored later in the block.
    /// </summary>
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

    /// <summary>Stores the pointers in an XSAVE area of the 64-bit format (SDM 1 10.5.1).</summary>
    public void Store(Span<byte> area)
    {
        MemoryMarshal.Write(area[6..], Pointers.Opcode);
        MemoryMarshal.Write(area[8..], Pointers.Instruction);
        MemoryMarshal.Write(area[16..], Pointers.Operand);
    }

    /// <summary>Loads the pointers from an XSAVE area of the 64-bit format, which has no selectors.</summary>
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

    /// <summary>Whether an unmasked x87 exception is pending: bit 7 of the status word.</summary>
    public bool HasPending
    {
        // SAFETY: the window contains the whole area; XSTATE_BV is at offset 512 (SDM 1 13.4.2).
        get => (cpu.XsaveArea[2] & 0x80) != 0 && (*(ulong*)(cpu.XsaveArea + 512) & 1) != 0;
    }

    /// <summary>
    /// Raises #MF if the instruction at RIP, whose memory operand faults, takes a pending x87 exception before it accesses memory (SDM 1 8.6).
    /// Returns whether that, or the fault of its fetch, was raised.
    /// </summary>
    public bool RaisesPending()
        => HasPending
            && (!cpu.Fetch.TryDecode(out Instruction instruction)
                || (InstructionClasses.WaitsForX87(instruction) && cpu.Raise(Vector.X87) == Vcpu.Outcome.Fault));
}
