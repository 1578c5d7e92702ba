global using Vector = Yadokari.X86.Vector;

namespace Yadokari.Translation;

internal sealed unsafe partial class Vcpu
{
    /// <summary>Vector of the exception that was raised and not delivered yet; -1 if none.</summary>
    internal int RaisedVector { get; private set; } = -1;

    /// <summary>Error code of the raised exception.</summary>
    internal uint RaisedErrorCode { get; private set; }

    /// <summary>Raises an exception. It is delivered when the emulated instruction returns <see cref="Outcome.Fault"/>.</summary>
    internal Outcome Raise(Vector vector, uint errorCode = 0)
    {
        RaisedVector = (int)vector;
        RaisedErrorCode = errorCode;
        return Outcome.Fault;
    }

    /// <summary>Clears the raised exception, for delivery or because the instruction ignores it (LAR, VERR).</summary>
    internal void ClearRaised() => RaisedVector = -1;
}
