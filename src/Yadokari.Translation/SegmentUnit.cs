using System.Runtime.CompilerServices;
using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>
/// Segment registers with their hidden parts, the registers of descriptor tables (SDM 3A 2.4, 3.4.2, 3.4.3), and the checks of accesses to a
/// loaded segment. Bases and selectors are mirrored in the <see cref="VcpuState"/> for translated code. The caller must check what it loads. On
/// the vCPU's thread.
/// </summary>
/// <param name="state">The vCPU's state.</param>
internal sealed unsafe class SegmentUnit(VcpuState* state)
{
    /// <summary>ES CS SS DS FS GS.</summary>
    public const int Count = 6;

    private const int Cs = 1;
    private const int Fs = 4;
    private const int Gs = 5;
    private const ushort Code = 8;
    private const ushort ExpandDown = 4;
    private const ushort Accessible = 2; // Writable data, or readable code.
    private const ushort Present = 0x80;
    private const ushort Long = 0x2000;
    private const ushort Big = 0x4000;

    private Registers _registers;

    // Inline in the object, which saves an indirection.
    [InlineArray(Count)]
    private struct Registers
    {
        private SegmentState _first;
    }

    /// <summary>A segment register: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS.</summary>
    public ref readonly SegmentState this[int index] => ref _registers[index];

    /// <summary>The task register.</summary>
    public SegmentState Tr { get; set; }

    /// <summary>LDTR.</summary>
    public SegmentState Ldtr { get; set; }

    /// <summary>GDTR.</summary>
    public TableState Gdtr { get; set; }

    /// <summary>IDTR.</summary>
    public TableState Idtr { get; set; }

    /// <summary>CS.L, which has an effect in long mode only.</summary>
    public bool IsLong => (_registers[Cs].Attributes & Long) != 0;

    /// <summary>CS.D: the default operand and address size is 32 bits.</summary>
    public bool IsCode32 => (_registers[Cs].Attributes & Big) != 0;

    /// <summary>Whether ES, CS, SS or DS has a base other than 0.</summary>
    public bool AreBased => _registers[0].Base != 0 || _registers[1].Base != 0 || _registers[2].Base != 0 || _registers[3].Base != 0;

    /// <summary>Offset of the last byte of CS.</summary>
    public uint CodeLimit => LimitOf(_registers[Cs]);

    /// <summary>Loads a segment register.</summary>
    public void Set(int index, in SegmentState value)
    {
        _registers[index] = value;
        state->SegmentBase[index] = value.Base;
        state->Selectors[index] = value.Selector;
    }

    /// <summary>Copies the bases of FS and GS from the <see cref="VcpuState"/>, where translated code may have changed them (SWAPGS, WRFSBASE, WRGSBASE).</summary>
    public void TakeBases()
    {
        TakeBase(Fs);
        TakeBase(Gs);
    }

    /// <summary>Resets all registers (SDM 3A table 10-1).</summary>
    public void Reset()
    {
        Set(Cs, new SegmentState(0xF000, 0xFFFF0000, 0xFFFF, 0x9B));
        foreach (int data in (ReadOnlySpan<int>)[0, 2, 3, Fs, Gs])
        {
            Set(data, new SegmentState(0, 0, 0xFFFF, 0x93));
        }

        Gdtr = new TableState(0, 0xFFFF);
        Idtr = new TableState(0, 0xFFFF);
        Ldtr = new SegmentState(0, 0, 0xFFFF, 0x82);
        Tr = new SegmentState(0, 0, 0xFFFF, 0x8B);
    }

    /// <summary>Saves the registers.</summary>
    public void Save(X86State to)
    {
        ((ReadOnlySpan<SegmentState>)_registers).CopyTo(to.Segments);
        (to.Tr, to.Ldtr, to.Gdtr, to.Idtr) = (Tr, Ldtr, Gdtr, Idtr);
    }

    /// <summary>Loads the registers.</summary>
    public void Load(X86State from)
    {
        for (int i = 0; i < Count; i++)
        {
            Set(i, from.Segments[i]);
        }

        (Tr, Ldtr, Gdtr, Idtr) = (from.Tr, from.Ldtr, from.Gdtr, from.Idtr);
    }

    /// <summary>
    /// Computes the linear address of an offset in a segment, and returns whether the access passes the checks of the mode: canonical in 64-bit
    /// mode; else usable, rights and limit (SDM 3A 5.3, 5.5).
    /// </summary>
    /// <param name="code64">Whether the vCPU is in 64-bit mode.</param>
    /// <param name="segment">0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS.</param>
    /// <param name="offset">Offset of the first byte.</param>
    /// <param name="length">Length in bytes, 1 or more.</param>
    /// <param name="write">Whether it is a write.</param>
    /// <param name="linear">The linear address of the first byte, if the access passes.</param>
    public bool Allows(bool code64, int segment, ulong offset, int length, bool write, out ulong linear)
    {
        if (code64)
        {
            linear = offset + (segment >= Fs ? _registers[segment].Base : 0);
            ulong last = linear + (ulong)length - 1;
            return (long)(linear << 16) >> 16 == (long)linear && (long)(last << 16) >> 16 == (long)last;
        }

        ref readonly SegmentState s = ref _registers[segment];
        uint start = (uint)offset;
        linear = (uint)(s.Base + start);
        ulong end = (ulong)start + (ulong)length - 1;
        if (!state->ProtectedMode)
        {
            return end <= LimitOf(s);
        }

        bool code = (s.Attributes & Code) != 0;
        bool expandDown = !code && (s.Attributes & ExpandDown) != 0;
        return (s.Attributes & Present) != 0
            && (write ? !code && (s.Attributes & Accessible) != 0 : !code || (s.Attributes & Accessible) != 0)
            && (expandDown ? start > s.Limit && end <= ((s.Attributes & Big) != 0 ? uint.MaxValue : 0xFFFFu) : end <= s.Limit);
    }

    /// <summary>
    /// Computes the ends up to which translated code may access each segment without <see cref="Allows"/>. Returns whether DS, ES or SS does not
    /// allow reads and writes of all 4 GiB (SDM 3A 5.3, 5.5).
    /// </summary>
    public bool FindEnds()
    {
        bool limited = false;
        for (int i = 0; i < Count; i++)
        {
            ref readonly SegmentState segment = ref _registers[i];
            ulong end = LimitOf(segment) + 1ul;
            ulong read = end;
            ulong write = end;
            if (state->ProtectedMode)
            {
                bool code = (segment.Attributes & Code) != 0;
                bool plain = (segment.Attributes & Present) != 0 && (code || (segment.Attributes & ExpandDown) == 0);
                bool accessible = (segment.Attributes & Accessible) != 0;
                read = plain && (!code || accessible) ? end : 0;
                write = plain && !code && accessible ? end : 0;
            }

            state->ReadEnd[i] = read;
            state->WriteEnd[i] = write;
            limited |= i is 0 or 2 or 3 && (read != 1ul << 32 || write != 1ul << 32);
        }

        return limited;
    }

    // In real and virtual-8086 mode a limit is at least 64 KiB: a smaller one, loaded in protected mode, is ignored.
    private uint LimitOf(in SegmentState segment) => state->ProtectedMode ? segment.Limit : Math.Max(segment.Limit, 0xFFFF);

    private void TakeBase(int index)
    {
        if (_registers[index].Base != state->SegmentBase[index])
        {
            _registers[index] = _registers[index] with { Base = state->SegmentBase[index] };
        }
    }
}
