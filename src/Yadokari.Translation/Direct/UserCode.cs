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
        0x31, 0x33, 0x34, // RDTSC, RDPMC, SYSENTER
        0xA2, // CPUID
        0xAE, // UMONITOR, UMWAIT, TPAUSE, RDFSBASE and others
        0xC7); // RDPID

    private const int Starts = 4;

    private readonly Decoder _decoder;
    private byte* _position;
    private byte* _end;

    public UserCode(DecoderOptions decoding = DecoderOptions.None) => _decoder = Decoder.Create(64, this, decoding);

    /// <summary>RDTSC stops the process; else pages with it are not for it.</summary>
    public bool HidesClock { get; set; } = true;

    /// <summary>CPUID stops the process; else pages with it are not for it.</summary>
    public bool HidesProcessor { get; set; } = true;

    /// <summary>The host's kernel knows that user code sets its segment bases by itself; where it does not, it loses them.</summary>
    public bool KeepsBases { get; set; } = true;

    /// <summary>In place of a tail: an instruction of the page needs the monitor.</summary>
    public const int Sensitive = -1;

    /// <summary>In place of a tail: that depends on where in the page the first instruction begins.</summary>
    public const int Doubtful = -2;

    /// <summary>
    /// Looks through a page. Returns where the instruction begins that goes on in the next page (see <see cref="Continues"/>), 4096 if none
    /// does, <see cref="Sensitive"/> or <see cref="Doubtful"/>.
    /// </summary>
    /// <param name="page">4096 bytes.</param>
    public int Scan(byte* page)
    {
        if (!IsSuspect(new ReadOnlySpan<byte>(page, 4096)))
        {
            // Only where the last instruction begins is of interest, and from any start decoding soon falls into step.
            return Sweep(page, 4096 - 128);
        }

        // CPUID is told by its bytes wherever they stand, for after data among code decoding may be out of step: hardly a page has them by chance.
        if (!HidesProcessor && new ReadOnlySpan<byte>(page, 4096).IndexOf((ReadOnlySpan<byte>)[0x0F, 0xA2]) >= 0)
        {
            return Sensitive;
        }

        // Bytes before the first instruction may belong to one of the page before, and how many is not known here.
        int sensitive = 0;
        int tail = 4096;
        for (int start = 0; start < Starts; start++)
        {
            int end = Sweep(page, start);
            sensitive += end < 0 ? 1 : 0;
            tail = end < 0 ? tail : Math.Min(tail, end);
        }

        return sensitive == 0 ? tail : sensitive == Starts ? Sensitive : Doubtful;
    }

    /// <summary>Looks through a page whose first instruction begins at a known offset. Returns a tail or <see cref="Sensitive"/>.</summary>
    public int Scan(byte* page, int first) => Sweep(page, first);

    /// <summary>How far an instruction that begins in one page reaches into the next.</summary>
    public int Overlap(byte* first, int tail, byte* second) => tail == 4096 ? 0 : Math.Max(0, Across(first, tail, second).Length - (4096 - tail));

    /// <summary>Whether an instruction that lies across two pages does not need the monitor either.</summary>
    /// <param name="first">The page that it begins in.</param>
    /// <param name="tail">Where, from <see cref="IsInnocuous"/>.</param>
    /// <param name="second">The page after it.</param>
    public bool Continues(byte* first, int tail, byte* second)
        => tail == 4096 || !NeedsMonitor(Across(first, tail, second));

    public override int ReadByte() => _position < _end ? *_position++ : -1;

    private bool NeedsMonitor(in Instruction instruction)
        => SensitiveInstructions.Find(instruction.Code)?.Direct == DirectUse.ShowsHost
            || (!HidesClock && instruction.Mnemonic is (Mnemonic.Rdtsc or Mnemonic.Rdtscp))
            || (!HidesProcessor && instruction.Mnemonic == Mnemonic.Cpuid)
            || (!KeepsBases && instruction.Mnemonic is (Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase));

    private Instruction Across(byte* first, int tail, byte* second)
    {
        byte* both = stackalloc byte[48];
        int length = Math.Min(4096 - tail, 15);
        new ReadOnlySpan<byte>(first + 4096 - length, length).CopyTo(new Span<byte>(both, 48));
        new ReadOnlySpan<byte>(second, 16).CopyTo(new Span<byte>(both + length, 16));
        _position = both;
        _end = both + length + 16;
        _decoder.IP = 0;
        _decoder.Decode(out Instruction instruction);
        return instruction;
    }

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
            if (NeedsMonitor(instruction))
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
