namespace Yadokari.X86;

/// <summary>Exception vectors (Intel SDM volume 3, table 7-1). Interrupts have others, up to 255.</summary>
public enum Vector : byte
{
    /// <summary>#DE: divide error; a fault.</summary>
    DivideError = 0,

    /// <summary>#DB: debug; a fault or a trap.</summary>
    Debug = 1,

    /// <summary>Non-maskable interrupt.</summary>
    Nmi = 2,

    /// <summary>#BP: INT3; a trap.</summary>
    Breakpoint = 3,

    /// <summary>#OF: INTO; a trap.</summary>
    Overflow = 4,

    /// <summary>#BR: BOUND; a fault.</summary>
    BoundRange = 5,

    /// <summary>#UD: undefined opcode; a fault.</summary>
    InvalidOpcode = 6,

    /// <summary>#NM: no coprocessor, or CR0.TS set; a fault.</summary>
    DeviceNotAvailable = 7,

    /// <summary>#DF: an exception while another was delivered; an abort with error code 0.</summary>
    DoubleFault = 8,

    /// <summary>#TS: invalid task-state segment; a fault with a selector error code.</summary>
    InvalidTss = 10,

    /// <summary>#NP: segment not present; a fault with a selector error code.</summary>
    SegmentNotPresent = 11,

    /// <summary>#SS: stack segment; a fault with a selector error code or 0.</summary>
    StackFault = 12,

    /// <summary>#GP: general protection; a fault with a selector error code or 0.</summary>
    GeneralProtection = 13,

    /// <summary>#PF: page fault; a fault with a <see cref="Paging.PageFaultError"/>.</summary>
    PageFault = 14,

    /// <summary>#MF: x87 floating point; a fault.</summary>
    X87 = 16,

    /// <summary>#AC: alignment check; a fault with error code 0.</summary>
    AlignmentCheck = 17,

    /// <summary>#MC: machine check; an abort.</summary>
    MachineCheck = 18,

    /// <summary>#XM: SIMD floating point; a fault.</summary>
    Simd = 19,

    /// <summary>#VE: virtualization.</summary>
    Virtualization = 20,

    /// <summary>#CP: control protection; a fault with an error code.</summary>
    ControlProtection = 21,
}

/// <summary>Properties of exceptions by their vectors.</summary>
public static class Vectors
{
    /// <summary>Whether the processor pushes an error code when it delivers this exception (not when software raises it by INT n).</summary>
    public static bool HasErrorCode(Vector vector) => vector is Vector.DoubleFault
        or (>= Vector.InvalidTss and <= Vector.PageFault) or Vector.AlignmentCheck or Vector.ControlProtection;

    /// <summary>
    /// Whether a second exception during the delivery of a first makes a double fault (Intel SDM volume 3, table 7-5); otherwise the second is
    /// delivered alone. A fault during the delivery of #DF shuts the processor down; the caller checks for that first.
    /// </summary>
    public static bool MakesDoubleFault(Vector first, Vector second) =>
        (IsContributory(first) && IsContributory(second)) || (first == Vector.PageFault && (second == Vector.PageFault || IsContributory(second)));

    private static bool IsContributory(Vector vector) => vector is Vector.DivideError
        or (>= Vector.InvalidTss and <= Vector.GeneralProtection) or Vector.ControlProtection;
}
