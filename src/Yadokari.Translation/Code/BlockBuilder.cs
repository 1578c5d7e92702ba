using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>A way out of a block that is seldom taken: its code goes to the cold part, and what jumps there is patched then.</summary>
internal unsafe struct ColdExit
{
    public SiteKind Kind;
    public byte* Patch;
    public byte* Resume;
    public ulong Linear;
    public int Extra;
    public int Tlb;
    public byte Size;
    public bool Write;

    /// <summary>The register by which a check that is shared goes.</summary>
    public byte Base;

    public bool Ax;

    /// <summary>Flags are in AX at <see cref="Resume"/>.</summary>
    public bool ResumeAx;

    /// <summary>Displacement of the direct jump that a lookup stands for; null for indirect ones.</summary>
    public byte* Link;

    /// <summary>That jump goes with the flags in AX.</summary>
    public bool LinkAx;
}

/// <summary>
/// What is known of the block that is being translated: its instructions in order, of each which flags are live before it and where its host
/// code begins, and the exits whose code is still to be written. Used again for each block, without an allocation.
/// </summary>
internal sealed unsafe class BlockBuilder
{
    /// <summary>Longest block, in instructions.</summary>
    public const int MaxInstructions = 48;

    private readonly Instruction[] _instructions = new Instruction[MaxInstructions];
    private readonly Treatment[] _treatments = new Treatment[MaxInstructions];
    private readonly byte[] _liveBefore = new byte[MaxInstructions + 1];
    private readonly ushort[] _hostOffsets = new ushort[MaxInstructions];
    private readonly bool[] _axSaved = new bool[MaxInstructions];
    private readonly ColdExit[] _exits = new ColdExit[MaxInstructions * 8];

    /// <summary>Instructions of the block.</summary>
    public int Count { get; private set; }

    /// <summary>Exits of the block so far.</summary>
    public int ExitCount { get; private set; }

    /// <summary>An instruction of the block.</summary>
    public ref readonly Instruction this[int index] => ref _instructions[index];

    /// <summary>The last instruction of the block.</summary>
    public ref readonly Instruction Last => ref _instructions[Count - 1];

    /// <summary>Begins another block.</summary>
    public void Clear()
    {
        Count = 0;
        ExitCount = 0;
    }

    /// <summary>Adds an instruction.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="treatment">How it is translated.</param>
    public void Add(in Instruction instruction, Treatment treatment)
    {
        _instructions[Count] = instruction;
        _treatments[Count] = treatment;
        _hostOffsets[Count] = 0;
        _axSaved[Count] = false;
        Count++;
    }

    /// <summary>Whether an instruction of the block runs as it is and uses x87 or SIMD state.</summary>
    public bool UsesSimd()
    {
        for (int i = 0; i < Count; i++)
        {
            if (_treatments[i] == Treatment.Native && InstructionClasses.UsesSimd(_instructions[i].Code))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Works out, backwards, which flags are live: once all instructions are there.</summary>
    public void FindLiveFlags()
    {
        int live = FlagLiveness.AllFlags;
        _liveBefore[Count] = FlagLiveness.AllFlags;
        for (int i = Count - 1; i >= 0; i--)
        {
            live = FlagLiveness.Before(_instructions[i], _treatments[i], live);
            _liveBefore[i] = (byte)live;
        }
    }

    /// <summary>Arithmetic flags that somebody may read before an instruction; with <see cref="Count"/>, after the last.</summary>
    public int LiveBefore(int index) => _liveBefore[index];

    /// <summary>Notes where an instruction's host code begins that may fault, from the start of the block.</summary>
    public void SetHostOffset(int index, long offset) => _hostOffsets[index] = (ushort)offset;

    /// <summary>Notes whether the guest's flags are in AX while an instruction runs.</summary>
    public void SetAxSaved(int index, bool saved) => _axSaved[index] = saved;

    /// <summary>Adds an exit, blank but for its kind and the jump that takes it.</summary>
    public ref ColdExit AddExit(SiteKind kind, byte* patch)
    {
        ref ColdExit exit = ref _exits[ExitCount++];
        exit = new ColdExit { Kind = kind, Patch = patch };
        return ref exit;
    }

    /// <summary>An exit of the block.</summary>
    public ref ColdExit Exit(int index) => ref _exits[index];

    /// <summary>The exit added last.</summary>
    public ref ColdExit LastExit => ref _exits[ExitCount - 1];

    /// <summary>Writes the block's table of guest and host offsets; see <see cref="Block.Table"/>.</summary>
    /// <param name="table">Where to, with room for two entries an instruction.</param>
    /// <param name="page">Linear address of the block's page.</param>
    public void WriteTable(ushort* table, ulong page)
    {
        for (int i = 0; i < Count; i++)
        {
            table[2 * i] = (ushort)((int)(_instructions[i].IP - page) | (_axSaved[i] ? Block.AxSaved : 0));
            table[(2 * i) + 1] = _hostOffsets[i];
        }
    }
}
