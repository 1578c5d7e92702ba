namespace Yadokari.Translation;

/// <summary>Exception vectors (Intel SDM volume 3, 6.3.1).</summary>
internal enum Vector : byte
{
    DivideError = 0,
    Debug = 1,
    Nmi = 2,
    Breakpoint = 3,
    Overflow = 4,
    BoundRange = 5,
    InvalidOpcode = 6,
    DeviceNotAvailable = 7,
    DoubleFault = 8,
    InvalidTss = 10,
    SegmentNotPresent = 11,
    StackFault = 12,
    GeneralProtection = 13,
    PageFault = 14,
    X87 = 16,
    AlignmentCheck = 17,
    Simd = 19,
}

internal sealed unsafe partial class Vcpu
{
    /// <summary>The exception raised and not delivered yet, or -1.</summary>
    internal int RaisedVector { get; private set; } = -1;

    /// <summary>Error code of the raised exception.</summary>
    internal uint RaisedErrorCode { get; private set; }

    /// <summary>Raises an exception that is delivered once the emulated instruction returns <see cref="Outcome.Fault"/>.</summary>
    internal Outcome Raise(Vector vector, uint errorCode = 0)
    {
        RaisedVector = (int)vector;
        RaisedErrorCode = errorCode;
        return Outcome.Fault;
    }

    /// <summary>Takes the raised exception back, for delivery or because it does not count (LAR, VERR, ...).</summary>
    internal void ClearRaised() => RaisedVector = -1;
}
