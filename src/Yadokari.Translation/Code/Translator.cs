using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>
/// Translates a sequence of guest instructions to a block of host code. Innocuous instructions are copied: the translator renames registers,
/// redirects memory operands through the software TLB, and expands instructions that use the stack or the instruction pointer. One for each vCPU,
/// used by one thread at a time.
/// </summary>
internal sealed unsafe partial class Translator
{
    /// <summary>Upper bound of a block's host code in bytes.</summary>
    public const int MaxHostBytes = 48 * 1024;

    private readonly CodeCache _cache;
    private readonly Stubs _stubs;
    private readonly Encoder _encoder;
    private readonly TreatmentRules _treatments;
    private readonly InstructionUse _use;
    private readonly BlockBuilder _builder = new();
    private readonly SharedAccesses _shared;
    private readonly HostWriter _writer = new();
    private readonly List<Instruction> _emulated = [];

    private HostAssembler _a;
    private int _current;
    private byte* _resume;
    private bool _resumeAx;
    private byte* _start;
    private bool _axSaved;
    private CpuMode _mode;
    private ulong _page;
    private Block _block = null!;
    private int _epoch;
    private bool _global;
    private int _unshared;
    private bool _bounce;

    /// <param name="cache">Receives the code.</param>
    /// <param name="stubs">The cache's entry and exit stubs.</param>
    /// <param name="set">The guest's instruction set.</param>
    /// <param name="crowded">Whether there are more vCPUs than host processors: PAUSE is emulated then, so that it yields the processor.</param>
    public Translator(CodeCache cache, Stubs stubs, InstructionSet set, bool crowded)
    {
        _treatments = new TreatmentRules(set, crowded);
        _cache = cache;
        _stubs = stubs;
        _use = new InstructionUse(set);
        _shared = new SharedAccesses(_treatments, _use, _builder);
        Decoder = new InstructionDecoder(set);
        _encoder = Encoder.Create(64, _writer);
    }

    /// <summary>The decoder, which the vCPU uses too.</summary>
    public InstructionDecoder Decoder { get; }

    /// <summary>Operand accesses and sizes of instructions.</summary>
    public InstructionUse Use => _use;

    /// <summary>Count of translated instructions.</summary>
    public long InstructionsTranslated { get; private set; }

    /// <summary>
    /// Whether the next block is in a page that can't run directly (<see cref="TranslatedCode.ReportRuns"/>): it counts its runs, and exits to C# where
    /// it may leave the page, if the program is to run directly.
    /// </summary>
    public bool ReportsRuns { get; set; }

    /// <summary>The decoded form of an instruction that is emulated, by its number in a <see cref="Site"/>.</summary>
    public Instruction Emulated(int number) => _emulated[number];

    /// <summary>Forgets the instructions to emulate, after the cache was flushed.</summary>
    public void Clear() => _emulated.Clear();

    private bool Code64 => (_mode & CpuMode.Code64) != 0;

    /// <summary>Whether the block is 32-bit code with flat segments, except FS and GS.</summary>
    private bool Flat32 => StateLayout.IsFlat32(_mode);

    private bool PositionIndependent => (_mode & CpuMode.User) != 0;

    private bool Single => (_mode & CpuMode.Single) != 0;

    private int JumpCache => StateLayout.JumpCacheOf(_mode);

    private int TlbKind => (_mode & CpuMode.User) != 0 ? 1 : (_mode & CpuMode.SupervisorAc) != 0 ? 2 : 0;

    /// <summary>
    /// Translates a block from the bytes at <paramref name="code"/>. Returns null if the first instruction does not end within
    /// <paramref name="length"/> bytes.
    /// </summary>
    /// <param name="block">The object to initialize.</param>
    /// <param name="gpa">Guest physical address of the first byte.</param>
    /// <param name="linear">Linear address of the first byte.</param>
    /// <param name="mode">The processor's mode.</param>
    /// <param name="code">The bytes, valid during the call.</param>
    /// <param name="length">Bytes up to the end of the page, or of both pages for an instruction that crosses.</param>
    /// <param name="bounce">One instruction whose memory operand is the bounce buffer.</param>
    /// <param name="epoch">For an instruction that crosses pages, the fetch epoch in which the block is valid.</param>
    /// <param name="global">Whether <paramref name="epoch"/> is the epoch of global pages.</param>
    /// <param name="unshared">Registers, one bit each, whose accesses may not share a check.</param>
    public Block? Translate(Block block, ulong gpa, ulong linear, CpuMode mode, byte* code, int length, bool bounce, int epoch, bool global, int unshared)
    {
        _epoch = epoch;
        _global = global;
        _unshared = unshared;
        _bounce = bounce;
        try
        {
            return TranslateWhole(block, gpa, linear, mode, code, length, bounce);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // A defect of the translator must not end the machine: the first instruction is emulated, or raises #UD.
            Failures++;
            LastRefusal = e.Message;
            return TranslateFirst(block, gpa, linear, mode, code, length);
        }
    }

    /// <summary>Count of blocks whose translation threw an exception; their first instructions are emulated.</summary>
    public long Failures { get; private set; }

    // A block that only emulates the first instruction.
    private Block TranslateFirst(Block block, ulong gpa, ulong linear, CpuMode mode, byte* code, int length)
    {
        _mode = mode;
        _page = linear & ~0xFFFul;
        Decoder.Start(code, length, mode, linear);
        Decoder.Next(out Instruction first);
        _builder.Clear();
        _builder.Add(first, Treatment.Emulate);
        _builder.FindLiveFlags();
        _current = 0;
        _coldStringCount = 0;
        ForgetX87();
        _axSaved = false;
        _a.Cursor = _start = _cache.Next;
        _block = block;
        _block.Begin(gpa, _page, mode, first.Length, refused: true);
        EmitEntry();
        EmitEmulate(first);
        Finish();
        return _block;
    }

    private Block? TranslateWhole(Block block, ulong gpa, ulong linear, CpuMode mode, byte* code, int length, bool bounce)
    {
        _mode = mode;
        _page = linear & ~0xFFFul;
        int offset = (int)(linear & 0xFFF);
        Decoder.Start(code, length, mode, linear);
        _builder.Clear();
        int limit = bounce || Single || offset + length > 4096 ? 1 : BlockBuilder.MaxInstructions;
        bool ended = false;
        while (_builder.Count < limit && !ended)
        {
            if (!Decoder.Next(out Instruction instruction))
            {
                break;
            }

            Treatment treatment = TreatmentOf(instruction);
            _builder.Add(instruction, treatment);
            ended = Ends(treatment);
        }

        // STI at the end of a block is emulated.
        ended |= _builder.Count != 0 && _builder.Last.Mnemonic == Mnemonic.Sti;

        if (_builder.Count == 0)
        {
            return null;
        }

        ref readonly Instruction last = ref _builder.Last;
        InstructionsTranslated += _builder.Count;
        int guestBytes = (int)(last.NextIP - linear);
        _block = block;
        _block.Begin(gpa, _page, mode, guestBytes);
        _a.Cursor = _start = _cache.Next;
        _coldStringCount = 0;
        _axSaved = false;
        _shared.Clear();
        ForgetX87();
        _source = code - (nint)linear;
        _block.UsesSimd = _builder.UsesSimd();
        _builder.FindLiveFlags();
        if (bounce)
        {
            EmitEntry();
            _a.Load(GuestRegisters.Address, Mem.State(StateLayout.Of(nameof(VcpuState.BouncePointer))));
            _builder.SetHostOffset(0, _a.Cursor - _start);
            EmitRedirected(_builder[0]);
            AfterX87(_builder[0]);
            EmitX87Notes((int)(_builder[0].IP & 4095));
            EmitStep(last.NextIP);
        }
        else
        {
            EmitEntry();
            for (_current = 0; _current < _builder.Count; _current++)
            {
                Emit(_builder[_current]);
            }

            if (!ended)
            {
                EmitX87Notes(int.MaxValue);
                if (Single)
                {
                    EmitStep(last.NextIP);
                }
                else
                {
                    EmitJump(last.NextIP, backward: false);
                }
            }
        }

        if (_block.UsesSimd)
        {
            EmitSimdEntry();
        }

        Finish();
        return _block;
    }

    private Treatment TreatmentOf(in Instruction instruction) => _treatments.Of(instruction, _mode);

    private bool Ends(Treatment treatment) => treatment is Treatment.Emulate or Treatment.Flow or Treatment.FastCall;

    private void Emit(in Instruction instruction)
    {
        _resume = _a.Cursor;
        _resumeAx = _axSaved;
        _builder.SetHostOffset(_current, _a.Cursor - _start);
        Treatment treatment = TreatmentOf(instruction);
        if (_x87Notes.Count != 0)
        {
            EmitX87Due(instruction, treatment);
        }

        _shared.Plan(_current, _mode, _unshared);
        switch (treatment)
        {
            case Treatment.Native:
                EmitNative(instruction);
                AfterX87(instruction);
                break;
            case Treatment.Emulate:
                EmitEmulate(instruction);
                break;
            case Treatment.Flow:
                if (instruction.Mnemonic is Mnemonic.Jrcxz or Mnemonic.Jecxz or Mnemonic.Loop)
                {
                    EmitCountedBranch(instruction);
                    break;
                }

                EmitFlow(instruction);
                break;
            case Treatment.Inline:
                EmitInline(instruction);
                break;
            case Treatment.FastCall when instruction.Mnemonic == Mnemonic.Syscall:
                EmitSyscall(instruction);
                break;
            case Treatment.FastCall:
                EmitSysret(instruction);
                break;
            case Treatment.Stack:
                EmitStack(instruction);
                break;
            case Treatment.Address:
                EmitLea(instruction);
                break;
            case Treatment.BitString:
                EmitBitString(instruction);
                break;
            case Treatment.Nothing:
                break;
        }

        _builder.SetAxSaved(_current, _axSaved && treatment == Treatment.Native);
        if (_axSaved && _current + 1 < _builder.Count && !KeepsSaved(_builder[_current + 1]))
        {
            RestoreFlags(_builder.LiveBefore(_current + 1));
        }

        _shared.After(instruction, _current);
    }

    private void Finish()
    {
        byte* end = _a.Cursor;
        _block.X87Notes = _x87Notes.Count == 0 ? null : [.. _x87Notes];
        _a.Cursor = _cache.NextCold;
        _block.End = _cache.Executable(end);
        _block.Cold = _cache.Executable(_a.Cursor);
        EmitCold();
        EmitColdStrings();
        byte* cursor = (byte*)(((nint)_a.Cursor + 3) & ~3);
        _block.Table = (ushort*)cursor;
        _block.Instructions = _builder.Count;
        _builder.WriteTable(_block.Table, _page);
        cursor += 4 * _builder.Count;
        _cache.Commit(end);
        _cache.CommitCold(cursor);
    }

    private sealed class HostWriter : CodeWriter
    {
        public byte* Position;

        public override void WriteByte(byte value) => *Position++ = value;
    }
}
