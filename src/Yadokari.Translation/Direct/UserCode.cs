using System.Buffers;
using Iced.Intel;
using Yadokari.X86.Sensitive;

namespace Yadokari.Translation.Direct;

/// <summary>
/// Scans a page of user code for instructions that would reveal the host without a trap if they ran in a <see cref="Sandbox"/>
/// (<see cref="DirectUse.ShowsHost"/>). A page that contains one runs translated.
/// </summary>
internal sealed unsafe class UserCode : CodeReader
{
    // Second bytes of the two-byte opcodes of such instructions.
    private static readonly SearchValues<byte> s_suspects = SearchValues.Create(
        0x00, 0x01, 0x02, 0x03, // SLDT STR VERR VERW; SGDT SIDT SMSW XGETBV RDPKRU VMCALL and others; LAR; LSL
        0x31, 0x33, 0x34, // RDTSC, RDPMC, SYSENTER
        0xA2, // CPUID
        0xAE, // UMONITOR, UMWAIT, TPAUSE, RDFSBASE and others
        0xC7); // RDPID

    private const int Starts = 4; // Offsets tried as the start of the first instruction.

    private readonly Decoder _decoder;
    private byte* _position;
    private byte* _end;

    public UserCode(DecoderOptions decoding = DecoderOptions.None) => _decoder = Decoder.Create(64, this, decoding);

    /// <summary>Whether RDTSC stops the process. If not, pages that contain it must be translated.</summary>
    public bool HidesClock { get; set; } = true;

    /// <summary>Whether CPUID stops the process. If not, pages that contain it must be translated.</summary>
    public bool HidesProcessor { get; set; } = true;

    /// <summary>Whether the host's kernel preserves segment bases that user code writes (FSGSBASE). If not, code that accesses them is translated.</summary>
    public bool KeepsBases { get; set; } = true;

    /// <summary>Result of a scan: the page contains an instruction that must be translated.</summary>
    public const int Sensitive = -1;

    /// <summary>Result of a scan: that depends on where in the page the first instruction begins.</summary>
    public const int Doubtful = -2;

    /// <summary>
    /// Scans a page. Returns its tail: the offset of the instruction that continues in the next page (see <see cref="Continues"/>), 4096 if none
    /// does; or <see cref="Sensitive"/> or <see cref="Doubtful"/>.
    /// </summary>
    /// <param name="page">4096 bytes.</param>
    public int Scan(byte* page)
    {
        if (!IsSuspect(new ReadOnlySpan<byte>(page, 4096)))
        {
            // Only the start of the last instruction is needed, and decoding soon synchronizes from any start.
            return Sweep(page, 4096 - 128);
        }

        // CPUID is searched by its bytes at any offset, because decoding may be out of step after data among code. Few pages have them by chance.
        if (!HidesProcessor && new ReadOnlySpan<byte>(page, 4096).IndexOf((ReadOnlySpan<byte>)[0x0F, 0xA2]) >= 0)
        {
            return Sensitive;
        }

        // The page may begin with the rest of an instruction of the page before, whose length is unknown here.
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

    /// <summary>Scans a page whose first instruction begins at a known offset. Returns a tail or <see cref="Sensitive"/>.</summary>
    public int Scan(byte* page, int first) => Sweep(page, first);

    /// <summary>Number of bytes of the next page that belong to the last instruction of a page.</summary>
    public int Overlap(byte* first, int tail, byte* second) => tail == 4096 ? 0 : Math.Max(0, Across(first, tail, second).Length - (4096 - tail));

    /// <summary>Whether the instruction that crosses from one page to the next, if any, may run in the process.</summary>
    /// <param name="first">The page in which it begins.</param>
    /// <param name="tail">Its offset there, from <see cref="Scan(byte*)"/>.</param>
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

    // Decodes from an offset to the end of the page. Returns the tail, or Sensitive.
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
                return Sensitive;
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
