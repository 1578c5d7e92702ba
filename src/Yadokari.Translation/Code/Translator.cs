using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>
/// Turns a run of guest instructions into host code. Innocuous instructions keep their meaning by running as they are; this class only
/// renames registers, redirects memory operands through the software TLB and expands what uses the stack or the instruction pointer.
/// One per vCPU, used by one thread at a time.
/// </summary>
internal sealed unsafe partial class Translator
{
    /// <summary>Longest block, in instructions.</summary>
    public const int MaxInstructions = 48;

    /// <summary>More host bytes than any block takes.</summary>
    public const int MaxHostBytes = 48 * 1024;

    private const int AllFlags = (int)(RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF);

    private readonly CodeCache _cache;
    private readonly Stubs _stubs;
    private readonly GuestBytes _bytes = new();
    private bool _whole;
    private readonly Decoder _decoder64;
    private readonly Decoder _decoder32;
    private readonly Decoder _decoder16;
    private readonly Encoder _encoder;
    private readonly InstructionSet _set;
    private readonly HostWriter _writer = new();
    private readonly Instruction[] _instructions = new Instruction[MaxInstructions];
    private readonly byte[] _liveBefore = new byte[MaxInstructions + 1];
    private readonly ushort[] _hostOffsets = new ushort[MaxInstructions];
    private readonly bool[] _axAt = new bool[MaxInstructions];
    private readonly List<Instruction> _emulated = [];
    private readonly ColdExit[] _cold = new ColdExit[MaxInstructions * 8];

    private HostAssembler _a;
    private int _coldCount;
    private int _count;
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

    private readonly bool _crowded;

    /// <param name="cache">Gets the code.</param>
    /// <param name="stubs">Its passages to C#.</param>
    /// <param name="set">What the guest has.</param>
    /// <param name="crowded">There are more vCPUs than processors: PAUSE leaves, so that others may run.</param>
    public Translator(CodeCache cache, Stubs stubs, InstructionSet set, bool crowded)
    {
        _crowded = crowded;
        _set = set;
        _cache = cache;
        _stubs = stubs;
        _decoder64 = Decoder.Create(64, _bytes, set.Decoding);
        _decoder32 = Decoder.Create(32, _bytes, set.Decoding);
        _decoder16 = Decoder.Create(16, _bytes, set.Decoding);
        _encoder = Encoder.Create(64, _writer);
    }

    /// <summary>Instructions translated so far.</summary>
    public long InstructionsTranslated { get; private set; }

    /// <summary>
    /// What is translated from now on is of a page that can't run directly: it counts its runs, and where it may leave the page while the
    /// program is to run directly it comes back to C#.
    /// </summary>
    public bool ReportsRuns { get; set; }

    /// <summary>The decoded form of an instruction that translated code leaves to the emulator.</summary>
    public Instruction Emulated(int number) => _emulated[number];

    /// <summary>Forgets what belongs to blocks, when the cache was cleared.</summary>
    public void Clear() => _emulated.Clear();

    private bool Code64 => (_mode & CpuMode.Code64) != 0;

    /// <summary>32-bit code whose segments might as well not be there.</summary>
    private bool Flat32 => StateLayout.IsFlat32(_mode);

    private bool PositionIndependent => (_mode & CpuMode.User) != 0;

    private bool Single => (_mode & CpuMode.Single) != 0;

    private int JumpCache => StateLayout.JumpCacheOf(_mode);

    private int TlbKind => (_mode & CpuMode.User) != 0 ? 1 : (_mode & CpuMode.SupervisorAc) != 0 ? 2 : 0;

    private Decoder DecoderOf(CpuMode mode) => (mode & CpuMode.Code64) != 0 ? _decoder64 : (mode & CpuMode.Code32) != 0 ? _decoder32 : _decoder16;

    /// <summary>Decodes one instruction from bytes; <see cref="DecodedWhole"/> says whether they were all of it.</summary>
    public Instruction Decode(ReadOnlySpan<byte> bytes, CpuMode mode, ulong ip)
    {
        fixed (byte* start = bytes)
        {
            _bytes.Set(start, bytes.Length);
            Decoder decoder = DecoderOf(mode);
            decoder.IP = ip;
            DecodeNext(decoder, out Instruction instruction);
            return instruction;
        }
    }

    // Decodes where the bytes stand, and puts right what the decoder leaves out. Whether they were all of an instruction is in _whole.
    private void DecodeNext(Decoder decoder, out Instruction instruction)
    {
        ReadOnlySpan<byte> bytes = _bytes.Rest;
        decoder.Decode(out instruction);
        _whole = !InstructionForms.AreAmbiguous(instruction) || InstructionForms.Resolve(ref instruction, decoder.Bitness, _set, bytes);
    }

    /// <summary>Whether what was decoded last did not go on after the bytes that there were.</summary>
    public bool DecodedWhole => _whole;

    /// <summary>Whether an instruction's bytes are only its beginning.</summary>
    public bool GoesOn(ReadOnlySpan<byte> bytes, CpuMode mode)
    {
        _ = Decode(bytes, mode, 0);
        return !_whole;
    }

    /// <summary>
    /// Translates from a linear address whose bytes stand at <paramref name="code"/>. Returns null if the first instruction does not end
    /// within <paramref name="length"/> bytes.
    /// </summary>
    /// <param name="block">What is to describe it.</param>
    /// <param name="gpa">Guest physical address of the first byte.</param>
    /// <param name="linear">Linear address of the first byte.</param>
    /// <param name="mode">The processor's mode.</param>
    /// <param name="code">The bytes, valid during the call.</param>
    /// <param name="length">Bytes up to the end of the page, or of both pages for an instruction that crosses.</param>
    /// <param name="bounce">One instruction whose memory operand is the bounce buffer.</param>
    /// <param name="epoch">The vCPU's fetch epoch: valid as long for an instruction that crosses pages.</param>
    /// <param name="global">The epoch is that of global pages.</param>
    /// <param name="unshared">Registers, a bit each, for whose accesses one check may not stand together.</param>
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
            // A gap in the translator is no reason for the machine to end: the emulator has the instruction, or refuses it by #UD.
            Failures++;
            LastRefusal = e.Message;
            return TranslateFirst(block, gpa, linear, mode, code, length);
        }
    }

    /// <summary>Blocks whose translation failed in an unforeseen way; their first instructions went to the emulator.</summary>
    public long Failures { get; private set; }

    // The first instruction alone, for the emulator.
    private Block TranslateFirst(Block block, ulong gpa, ulong linear, CpuMode mode, byte* code, int length)
    {
        _mode = mode;
        _page = linear & ~0xFFFul;
        _bytes.Set(code, length);
        Decoder decoder = DecoderOf(mode);
        decoder.IP = linear;
        DecodeNext(decoder, out _instructions[0]);
        _count = 1;
        _current = 0;
        _coldCount = 0;
        _coldStringCount = 0;
        ForgetX87();
        _axSaved = false;
        _liveBefore[0] = _liveBefore[1] = AllFlags;
        _hostOffsets[0] = 0;
        _axAt[0] = false;
        _a.Cursor = _start = _cache.Next;
        _block = block;
        _block.Begin(gpa, _page, mode, _instructions[0].Length, refused: true);
        EmitEntry();
        EmitEmulate(_instructions[0]);
        Finish();
        return _block;
    }

    private Block? TranslateWhole(Block block, ulong gpa, ulong linear, CpuMode mode, byte* code, int length, bool bounce)
    {
        _mode = mode;
        _page = linear & ~0xFFFul;
        int offset = (int)(linear & 0xFFF);
        _bytes.Set(code, length);
        Decoder decoder = DecoderOf(mode);
        decoder.IP = linear;
        _count = 0;
        int limit = bounce || Single || offset + length > 4096 ? 1 : MaxInstructions;
        bool ended = false;
        while (_count < limit && !ended)
        {
            ref Instruction instruction = ref _instructions[_count];
            DecodeNext(decoder, out instruction);
            if (!_whole)
            {
                break;
            }

            _count++;
            ended = Ends(TreatmentOf(instruction));
        }

        // STI without its next instruction in the same block is the emulator's.
        ended |= _count != 0 && _instructions[_count - 1].Mnemonic == Mnemonic.Sti;

        if (_count == 0)
        {
            return null;
        }

        ref readonly Instruction last = ref _instructions[_count - 1];
        InstructionsTranslated += _count;
        int guestBytes = (int)(last.NextIP - linear);
        _block = block;
        _block.Begin(gpa, _page, mode, guestBytes);
        _a.Cursor = _start = _cache.Next;
        _coldCount = 0;
        _coldStringCount = 0;
        _axSaved = false;
        ForgetRuns();
        ForgetX87();
        _source = code - (nint)linear;
        for (int i = 0; i < _count && !_block.UsesSimd; i++)
        {
            _block.UsesSimd = TreatmentOf(_instructions[i]) == Treatment.Native && InstructionClasses.UsesSimd(_instructions[i].Code);
        }

        FindLiveFlags();
        if (bounce)
        {
            EmitEntry();
            _axAt[0] = false;
            _a.Load(GuestRegisters.Address, Mem.State(StateLayout.Of(nameof(VcpuState.BouncePointer))));
            _hostOffsets[0] = (ushort)(_a.Cursor - _start);
            EmitRedirected(_instructions[0]);
            AfterX87(_instructions[0]);
            EmitX87Notes((int)(_instructions[0].IP & 4095));
            EmitStep(last.NextIP);
        }
        else
        {
            EmitEntry();
            for (_current = 0; _current < _count; _current++)
            {
                Emit(_instructions[_current]);
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

    private Treatment TreatmentOf(in Instruction instruction)
    {
        Treatment treatment = InstructionClasses.TreatmentOf(instruction.Code);
        if (!_set.Has(instruction) || (_crowded && instruction.Mnemonic == Mnemonic.Pause))
        {
            return Treatment.Emulate;
        }

        if (treatment == Treatment.Native && InstructionClasses.UsesSimd(instruction.Code)
            && ((_mode & CpuMode.SimdTrap) != 0
                || ((_mode & CpuMode.EmulationTrap) != 0 && !InstructionClasses.IsAvx(instruction.Code) && !InstructionClasses.IsAvx512(instruction.Code))
                || ((_mode & CpuMode.SseTrap) != 0 && InstructionClasses.IsSse(instruction.Code))
                || ((_mode & CpuMode.AvxTrap) != 0 && InstructionClasses.IsAvx(instruction.Code))
                || ((_mode & CpuMode.Avx512Trap) != 0 && InstructionClasses.IsAvx512(instruction.Code))))
        {
            return Treatment.Emulate;
        }

        if (Code64 && treatment == Treatment.Flow && instruction.Op0Kind == OpKind.NearBranch16)
        {
            // AMD's processors cut the target to 16 bits.
            return Treatment.Emulate;
        }

        if (!Code64 && treatment is Treatment.Flow or Treatment.Stack)
        {
            bool jump = treatment == Treatment.Flow && instruction.FlowControl is FlowControl.UnconditionalBranch or FlowControl.ConditionalBranch;
            return (jump ? IsNearTarget(instruction) : Flat32) ? treatment : Treatment.Emulate;
        }

        if (treatment == Treatment.Emulate)
        {
            return InlineTreatment(instruction);
        }

        if (treatment == Treatment.BitString)
        {
            return instruction.Op0Kind == OpKind.Register ? Treatment.Native
                : System.Runtime.Intrinsics.X86.Bmi2.X64.IsSupported && CanBitString(instruction) ? Treatment.BitString : Treatment.Emulate;
        }

        return treatment;
    }

    // Whether a direct jump's target is as good as one in a flat segment: it is in the same page, of which all belongs to the segment or else
    // instructions run one by one; or the segment has no end.
    private bool IsNearTarget(in Instruction instruction)
    {
        if ((_mode & (CpuMode.Limited | CpuMode.Based)) == 0)
        {
            return true;
        }

        bool code32 = (_mode & CpuMode.Code32) != 0;
        bool inPage = !Single && ((TargetOf(instruction) ^ instruction.IP) & ~0xFFFul) == 0;
        return instruction.Op0Kind == (code32 ? OpKind.NearBranch32 : OpKind.NearBranch16)
            && (inPage || (code32 && (_mode & CpuMode.Limited) == 0));
    }

    /// <summary>The linear address that a direct jump goes to.</summary>
    private ulong TargetOf(in Instruction instruction)
    {
        if (instruction.Op0Kind == OpKind.NearBranch16 && (_mode & (CpuMode.Limited | CpuMode.Based)) != 0)
        {
            // The decoder takes addresses for offsets: only the distance counts.
            return (uint)(instruction.NextIP + (ulong)(short)(instruction.NearBranch16 - instruction.NextIP));
        }

        return Code64 ? instruction.NearBranchTarget : (uint)instruction.NearBranchTarget;
    }

    private bool Ends(Treatment treatment) => treatment is Treatment.Emulate or Treatment.Flow or Treatment.FastCall;

    private void Emit(in Instruction instruction)
    {
        _resume = _a.Cursor;
        _resumeAx = _axSaved;
        _hostOffsets[_current] = (ushort)(_a.Cursor - _start);
        Treatment treatment = TreatmentOf(instruction);
        if (_x87Notes.Count != 0)
        {
            EmitX87Due(instruction, treatment);
        }

        PlanSharing();
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

        _axAt[_current] = _axSaved && treatment == Treatment.Native;
        if (_axSaved && _current + 1 < _count && !KeepsSaved(_instructions[_current + 1]))
        {
            RestoreFlags(_liveBefore[_current + 1]);
        }

        AfterShared(instruction);
    }

    /// <summary>
    /// Works out, backwards, which arithmetic flags somebody may still read before each instruction. An exception's handler reads them all
    /// (SDM 3A 6.12.1: EFLAGS of before the instruction), and so does whoever looks at the processor between blocks.
    /// </summary>
    private void FindLiveFlags()
    {
        int live = AllFlags;
        _liveBefore[_count] = AllFlags;
        for (int i = _count - 1; i >= 0; i--)
        {
            live = MayFault(_instructions[i]) ? AllFlags : LiveThrough(_instructions[i], live);
            _liveBefore[i] = (byte)live;
        }
    }

    // What must be there when an instruction runs that does not fault.
    private static int LiveThrough(in Instruction instruction, int after) => (after & ~Kills(instruction)) | ((int)instruction.RflagsRead & AllFlags);

    private bool MayFault(in Instruction instruction) => TreatmentOf(instruction) switch
    {
        Treatment.Nothing or Treatment.Address => false,
        Treatment.Native => HasMemoryOperand(instruction) || FaultsByItself(instruction),
        _ => true,
    };

    // Also where its memory operand, if any, is there.
    private static bool FaultsByItself(in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv || instruction.IsInvalid || InstructionClasses.UsesSimd(instruction.Code);

    private static int Kills(in Instruction instruction)
    {
        if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
        {
            return 0;
        }

        if (InstructionClasses.MayKeepFlags(instruction.Code))
        {
            OpKind count = instruction.GetOpKind(instruction.OpCount - 1);
            if (count != OpKind.Immediate8 || (instruction.GetImmediate(instruction.OpCount - 1) & 31) == 0)
            {
                return 0;
            }
        }

        // What is undefined the processor may leave as it was (AMD's do, after IMUL); all clear AF after a logical instruction.
        RflagsBits left = instruction.RflagsUndefined;
        if (instruction.Mnemonic is Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test)
        {
            left &= ~RflagsBits.AF;
        }

        return (int)(instruction.RflagsModified & ~left) & AllFlags;
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
        _block.Instructions = _count;
        for (int i = 0; i < _count; i++)
        {
            _block.Table[2 * i] = (ushort)((int)(_instructions[i].IP - _page) | (_axAt[i] ? Block.AxSaved : 0));
            _block.Table[(2 * i) + 1] = _hostOffsets[i];
        }

        cursor += 4 * _count;
        _cache.Commit(end);
        _cache.CommitCold(cursor);
    }

    private sealed class GuestBytes : CodeReader
    {
        private byte* _position;
        private byte* _end;

        // SAFETY: what Set was told of.
        public ReadOnlySpan<byte> Rest => new(_position, (int)(_end - _position));

        public void Set(byte* start, int length)
        {
            _position = start;
            _end = start + length;
        }

        public override int ReadByte() => _position < _end ? *_position++ : -1;
    }

    private sealed class HostWriter : CodeWriter
    {
        public byte* Position;

        public override void WriteByte(byte value) => *Position++ = value;
    }
}
