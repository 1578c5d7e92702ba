using System.Buffers;
using Iced.Intel;
using Yadokari.X86.Sensitive;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Looks through a page of user code for instructions that would run in a <see cref="Sandbox"/> and show the host in silence
/// (<see cref="DirectUse.ShowsHost"/>). A page that holds one runs translated.
/// </summary>
internal sealed unsafe class UserCode : CodeReader
{
    // The second bytes of two-byte opcodes to look at.
    private static readonly SearchValues<byte> s_suspects = SearchValues.Create(
        0x00, 0x01, 0x02, 0x03, // SLDT STR VERR VERW; SGDT SIDT SMSW XGETBV RDPKRU VMCALL and others; LAR; LSL
        0x33, 0x34, // RDPMC, SYSENTER
        0xA2, // CPUID
        0xAE, // UMONITOR, UMWAIT, TPAUSE
        0xC7); // RDPID

    private readonly Decoder _decoder;
    private byte* _position;
    private byte* _end;

    public UserCode() => _decoder = Decoder.Create(64, this);

    /// <summary>Whether no instruction of a page needs the monitor.</summary>
    /// <param name="page">4096 bytes.</param>
    /// <param name="tail">Where the instruction begins that goes on in the next page; 4096 if none does. See <see cref="Continues"/>.</param>
    public bool IsInnocuous(byte* page, out int tail)
    {
        tail = 4096;
        bool suspect = IsSuspect(new ReadOnlySpan<byte>(page, 4096));

        // Bytes before the first instruction may belong to one of the page before: a few starts find the right one, for wrong ones fall
        // into step within some instructions.
        for (int start = 0; start < 4; start++)
        {
            int end = Sweep(page, suspect ? start : 4096 - 64 + start);
            if (end < 0)
            {
                return false;
            }

            tail = Math.Min(tail, end);
        }

        return true;
    }

    /// <summary>Whether an instruction that lies across two pages does not need the monitor either.</summary>
    /// <param name="first">The page that it begins in.</param>
    /// <param name="tail">Where, from <see cref="IsInnocuous"/>.</param>
    /// <param name="second">The page after it.</param>
    public bool Continues(byte* first, int tail, byte* second)
    {
        byte* both = stackalloc byte[32];
        int length = 4096 - tail;
        if (length is 0 or > 15)
        {
            return length == 0;
        }

        new ReadOnlySpan<byte>(first + tail, length).CopyTo(new Span<byte>(both, 32));
        new ReadOnlySpan<byte>(second, 16).CopyTo(new Span<byte>(both + length, 16));
        _position = both;
        _end = both + length + 16;
        _decoder.IP = 0;
        _decoder.Decode(out Instruction instruction);
        return SensitiveInstructions.Find(instruction.Code)?.Direct != DirectUse.ShowsHost;
    }

    public override int ReadByte() => _position < _end ? *_position++ : -1;

    // Where the last instruction of the page begins if it goes on in the next one, 4096 if it does not, -1 if one needs the monitor.
    private int Sweep(byte* page, int start)
    {
        _position = page + start;
        _end = page + 4096;
        _decoder.IP = (ulong)start;
        while (_decoder.IP < 4096)
        {
            int at = (int)_decoder.IP;
            _decoder.Decode(out Instruction instruction);
            if (SensitiveInstructions.Find(instruction.Code)?.Direct == DirectUse.ShowsHost)
            {
                return -1;
            }

            if (_decoder.LastError == DecoderError.NoMoreBytes)
            {
                return at;
            }
        }

        return 4096;
    }

    private static bool IsSuspect(ReadOnlySpan<byte> code)
    {
        while (true)
        {
            int found = code.IndexOf((byte)0x0F);
            if (found < 0)
            {
                return false;
            }

            if (found + 1 == code.Length || s_suspects.Contains(code[found + 1]))
            {
                return true;
            }

            code = code[(found + 1)..];
        }
    }
}
