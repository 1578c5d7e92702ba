namespace Yadokari.X86;

/// <summary>Exception vectors (Intel SDM volume 3, table 7-1).</summary>
public static class Vectors
{
    /// <summary>#DE: divide error; a fault.</summary>
    public const byte DivideError = 0;

    /// <summary>#DB: debug; a fault or a trap.</summary>
    public const byte Debug = 1;

    /// <summary>Non-maskable interrupt.</summary>
    public const byte Nmi = 2;

    /// <summary>#BP: INT3; a trap.</summary>
    public const byte Breakpoint = 3;

    /// <summary>#OF: INTO; a trap.</summary>
    public const byte Overflow = 4;

    /// <summary>#BR: BOUND; a fault.</summary>
    public const byte BoundRange = 5;

    /// <summary>#UD: undefined opcode; a fault.</summary>
    public const byte InvalidOpcode = 6;

    /// <summary>#NM: no coprocessor, or CR0.TS set; a fault.</summary>
    public const byte DeviceNotAvailable = 7;

    /// <summary>#DF: an exception while another was delivered; an abort with error code 0.</summary>
    public const byte DoubleFault = 8;

    /// <summary>#TS: invalid task-state segment; a fault with a selector error code.</summary>
    public const byte InvalidTss = 10;

    /// <summary>#NP: segment not present; a fault with a selector error code.</summary>
    public const byte SegmentNotPresent = 11;

    /// <summary>#SS: stack segment; a fault with a selector error code or 0.</summary>
    public const byte StackFault = 12;

    /// <summary>#GP: general protection; a fault with a selector error code or 0.</summary>
    public const byte GeneralProtection = 13;

    /// <summary>#PF: page fault; a fault with a <see cref="Paging.PageFaultError"/>.</summary>
    public const byte PageFault = 14;

    /// <summary>#MF: x87 floating point; a fault.</summary>
    public const byte FloatingPoint = 16;

    /// <summary>#AC: alignment check; a fault with error code 0.</summary>
    public const byte AlignmentCheck = 17;

    /// <summary>#MC: machine check; an abort.</summary>
    public const byte MachineCheck = 18;

    /// <summary>#XM: SIMD floating point; a fault.</summary>
    public const byte SimdFloatingPoint = 19;

    /// <summary>#VE: virtualization.</summary>
    public const byte Virtualization = 20;

    /// <summary>#CP: control protection; a fault with an error code.</summary>
    public const byte ControlProtection = 21;

    private const uint WithErrorCode =
        (1u << DoubleFault) | (1u << InvalidTss) | (1u << SegmentNotPresent) | (1u << StackFault) | (1u << GeneralProtection)
        | (1u << PageFault) | (1u << AlignmentCheck) | (1u << ControlProtection);

    private const uint Contributory =
        (1u << DivideError) | (1u << InvalidTss) | (1u << SegmentNotPresent) | (1u << StackFault) | (1u << GeneralProtection)
        | (1u << ControlProtection);

    /// <summary>Whether the processor pushes an error code when it delivers this exception (not when software raises it by INT n).</summary>
    public static bool HasErrorCode(byte vector) => vector < 32 && ((WithErrorCode >> vector) & 1) != 0;

    /// <summary>
    /// What becomes of a second exception met while delivering a first (Intel SDM volume 3, table 7-5): true where the two make a double
    /// fault, false where the second is delivered alone. A fault while #DF is delivered shuts the processor down; ask for that first.
    /// </summary>
    public static bool MakesDoubleFault(byte first, byte second) =>
        (IsContributory(first) && IsContributory(second)) || (first == PageFault && (second == PageFault || IsContributory(second)));

    private static bool IsContributory(byte vector) => vector < 32 && ((Contributory >> vector) & 1) != 0;
}
