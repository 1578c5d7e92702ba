using Iced.Intel;

namespace Yadokari.Translation.Code;

/// <summary>An exit of a block that is rarely taken. Its code is emitted to the cold half of the cache, and the jump to it is patched then.</summary>
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

    /// <summary>Base register of a shared check.</summary>
    public byte Base;

    public bool Ax;

    /// <summary>Whether the guest's flags are in AX at <see cref="Resume"/>.</summary>
    public bool ResumeAx;

    /// <summary>For the lookup of a direct jump, the jump's displacement; null for indirect jumps.</summary>
    public byte* Link;

    /// <summary>Whether the guest's flags are in AX at that jump.</summary>
    public bool LinkAx;
}

/// <summary>
/// The block that is being translated: its instructions, the flags live before each, the offset of each one's host code, and the exits whose code
/// must still be emitted. Reused for each block, without allocation.
/// </summary>
internal sealed unsafe class BlockBuilder
{
    /// <summary>Maximum number of instructions of a block.</summary>
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

    /// <summary>Whether a copied instruction of the block uses x87 or SIMD state.</summary>
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

    /// <summary>Computes the live flags of all instructions. Called after the last was added.</summary>
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

    /// <summary>Arithmetic flags that are live before an instruction; for <see cref="Count"/>, after the last.</summary>
    public int LiveBefore(int index) => _liveBefore[index];

    /// <summary>Records the offset in the block of an instruction's host code that may fault.</summary>
    public void SetHostOffset(int index, long offset) => _hostOffsets[index] = (ushort)offset;

    /// <summary>Records whether the guest's flags are in AX while an instruction runs.</summary>
    public void SetAxSaved(int index, bool saved) => _axSaved[index] = saved;

    /// <summary>Adds an exit with its kind and the jump to it; the other fields are cleared.</summary>
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
    /// <param name="table">Destination, with room for two entries for each instruction.</param>
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
