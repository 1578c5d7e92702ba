using Iced.Intel;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Code;

/// <summary>
/// Decodes guest instructions of all modes, and corrects the results of the decoder library. One thread at a time.
/// </summary>
internal sealed unsafe class InstructionDecoder
{
    private readonly GuestBytes _bytes = new();
    private readonly InstructionSet _set;
    private readonly Decoder _decoder64;
    private readonly Decoder _decoder32;
    private readonly Decoder _decoder16;
    private Decoder _decoder;

    /// <param name="set">The guest's instruction set.</param>
    public InstructionDecoder(InstructionSet set)
    {
        _set = set;
        _decoder64 = Decoder.Create(64, _bytes, set.Decoding);
        _decoder32 = Decoder.Create(32, _bytes, set.Decoding);
        _decoder16 = Decoder.Create(16, _bytes, set.Decoding);
        _decoder = _decoder64;
    }

    /// <summary>Whether the last decoded instruction ended within the given bytes.</summary>
    public bool IsWhole { get; private set; }

    /// <summary>Begins to decode bytes, which must be valid until the last call of <see cref="Next"/>.</summary>
    /// <param name="code">The bytes.</param>
    /// <param name="length">Their number.</param>
    /// <param name="mode">The processor's mode.</param>
    /// <param name="ip">Address of the first byte.</param>
    public void Start(byte* code, int length, CpuMode mode, ulong ip)
    {
        _bytes.Set(code, length);
        _decoder = (mode & CpuMode.Code64) != 0 ? _decoder64 : (mode & CpuMode.Code32) != 0 ? _decoder32 : _decoder16;
        _decoder.IP = ip;
    }

    /// <summary>Decodes the next instruction. False if it may continue after the given bytes.</summary>
    public bool Next(out Instruction instruction)
    {
        ReadOnlySpan<byte> bytes = _bytes.Rest;
        _decoder.Decode(out instruction);
        return IsWhole = !InstructionForms.AreAmbiguous(instruction) || InstructionForms.Resolve(ref instruction, _decoder.Bitness, _set, bytes);
    }

    /// <summary>Decodes one instruction. <see cref="IsWhole"/> is set if it ended within the bytes.</summary>
    public Instruction Decode(ReadOnlySpan<byte> bytes, CpuMode mode, ulong ip)
    {
        fixed (byte* start = bytes)
        {
            Start(start, bytes.Length, mode, ip);
            Next(out Instruction instruction);
            return instruction;
        }
    }

    /// <summary>Whether an instruction continues after the given bytes.</summary>
    public bool GoesOn(ReadOnlySpan<byte> bytes, CpuMode mode)
    {
        _ = Decode(bytes, mode, 0);
        return !IsWhole;
    }

    private sealed class GuestBytes : CodeReader
    {
        private byte* _position;
        private byte* _end;

        // SAFETY: within the bytes given to Set.
        public ReadOnlySpan<byte> Rest => new(_position, (int)(_end - _position));

        public void Set(byte* start, int length)
        {
            _position = start;
            _end = start + length;
        }

        public override int ReadByte() => _position < _end ? *_position++ : -1;
    }
}
