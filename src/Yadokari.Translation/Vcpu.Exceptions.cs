global using Vector = Yadokari.X86.Vector;

namespace Yadokari.Translation;

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
