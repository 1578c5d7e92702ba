using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Translation.Code;
using Yadokari.X86;

namespace Yadokari.Translation;

/// <summary>The x87's pointers and its pending exceptions.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>
    /// Exact while C# runs. The area at <see cref="XsaveArea"/> has none: what translated code leaves there are the host's.
    /// </summary>
    internal ref X87Pointers X87
    {
        get
        {
            FetchExtended();
            return ref _x87;
        }
    }

    private X87Pointers _x87;

    /// <summary>
    /// Translated code ran x87 instructions: which was the last. Before anything else is done about the exit, for the selectors are still
    /// those that the instructions had, but after SYSCALL and SYSRET.
    /// </summary>
    private void TakeX87Pointers()
    {
        if (State->X87Last != 0)
        {
            TakeX87Note(State->X87Last, State->X87Page);
            State->X87Last = 0;
        }

        if (State->X87Operand != X87Pointers.NoOperand && MovesOperand)
        {
            X87.Operand = State->X87Operand;
            X87.DataSelector = State->X87Segment == X87Pointers.NoSegment ? (ushort)0 : (ushort)State->Selectors[State->X87Segment];
        }

        State->X87Operand = X87Pointers.NoOperand;
    }

    private bool MovesOperand => !HostX87.OperandOnlyWithException || HasPendingX87;

    private void TakeX87Note(uint note, ulong page)
    {
        if (X87Pointers.IsInitialized(note))
        {
            X87 = default;
            return;
        }

        ulong linear = page + X87Pointers.OffsetOf(note);
        bool left = State->FastCallLevel != 0 && X87Pointers.IsUser(note) != (State->FastCallLevel == 4);
        X87.Instruction = Code64 ? linear : (uint)(linear - Segments[1].Base);
        X87.Opcode = X87Pointers.OpcodeOf(note);
        X87.CodeSelector = left ? Segments[1].Selector : (ushort)State->Selectors[1];
    }

    /// <summary>Translated code left a block at an instruction that is not done: what x87 instructions before it in the block would have noted later.</summary>
    private void TakeX87Notes(Block block, ulong page, int offset)
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

        TakeX87Note(notes[last].Note, page);
        while (last >= 0 && !X87Pointers.HasOperand(notes[last].Note) && !X87Pointers.IsInitialized(notes[last].Note))
        {
            last--;
        }

        if (last >= 0 && X87Pointers.HasOperand(notes[last].Note) && offset < notes[last].OperandUntil && MovesOperand)
        {
            ulong rip = State->Rip;
            SetLinearRip(page + X87Pointers.OffsetOf(notes[last].Note));
            if (Fetch(out Instruction instruction))
            {
                X87.Operand = EffectiveAddress(instruction, out int segment);
                X87.DataSelector = (ushort)State->Selectors[segment];
            }

            ClearRaised();
            State->Rip = rip;
        }
    }

    /// <summary>Puts the pointers where they stand in an XSAVE area in the 64-bit format (SDM 1 10.5.1).</summary>
    internal void StoreX87Pointers(Span<byte> area)
    {
        MemoryMarshal.Write(area[6..], X87.Opcode);
        MemoryMarshal.Write(area[8..], X87.Instruction);
        MemoryMarshal.Write(area[16..], X87.Operand);
    }

    /// <summary>Takes the pointers from an XSAVE area in the 64-bit format, which has no selectors.</summary>
    internal void LoadX87Pointers(ReadOnlySpan<byte> area)
    {
        bool present = (MemoryMarshal.Read<ulong>(area[512..]) & 1) != 0;
        X87 = !present ? default : new X87Pointers
        {
            Opcode = (ushort)(MemoryMarshal.Read<ushort>(area[6..]) & 0x7FF),
            Instruction = MemoryMarshal.Read<ulong>(area[8..]),
            Operand = MemoryMarshal.Read<ulong>(area[16..]),
        };
    }

    /// <summary>An exception of the x87 that is not masked waits for the next instruction that looks: status word, bit 7.</summary>
    internal bool HasPendingX87
    {
        // SAFETY: the window holds the area whole; XSTATE_BV stands at offset 512 (SDM 1 13.4.2).
        get => (XsaveArea[2] & 0x80) != 0 && (*(ulong*)(XsaveArea + 512) & 1) != 0;
    }

    /// <summary>
    /// Whether the instruction at RIP, whose operand is not to be had as it is, takes a pending exception of the x87 before it looks at
    /// memory (SDM 1 8.6); or its fetch fails. Raised then.
    /// </summary>
    private bool RaisesPendingX87()
        => HasPendingX87
            && (!Fetch(out Instruction instruction)
                || (InstructionClasses.WaitsForX87(instruction) && Raise(Vector.X87) == Outcome.Fault));
}
