using Yadokari.Core.Engines;

namespace Yadokari.Translation;

/// <summary>
/// Where a debugger of the host stops a vCPU: after each instruction, or before those at breakpoints. The instruction at which it resumes runs, however often
/// <see cref="Vcpu.Run"/> is left before. The vCPU's thread; the debugger only while that is parked.
/// </summary>
internal sealed class DebuggerStops
{
    private HashSet<ulong> _breakpoints = [];
    private bool _passes; // The next instruction runs, whatever it is.

    /// <summary>Whether to stop after each instruction. Assigning it, also the same value, resumes.</summary>
    public bool SingleStep
    {
        get;
        set
        {
            field = value;
            _passes = true;
        }
    }

    /// <summary>Whether instructions have to run one by one.</summary>
    public bool IsActive => SingleStep || _breakpoints.Count != 0;

    /// <summary>Sets the linear addresses of breakpoints.</summary>
    public void SetBreakpoints(IEnumerable<ulong> addresses) => _breakpoints = [.. addresses];

    /// <summary>Before an instruction: whether the vCPU stops.</summary>
    /// <param name="linear">The instruction's linear address.</param>
    public bool StopsBefore(ulong linear)
    {
        if (_passes || (!SingleStep && !_breakpoints.Contains(linear)))
        {
            return false;
        }

        _passes = true;
        return true;
    }

    /// <summary>After an instruction or more, or an attempt that is repeated. Returns the outcome.</summary>
    public Vcpu.Outcome After(Vcpu.Outcome outcome)
    {
        _passes &= outcome == Vcpu.Outcome.Retry;
        return outcome;
    }

    /// <summary><see cref="Vcpu.Run"/> returns this: unless it is a kick, the instruction of a step has run. Returns it, too.</summary>
    public VmExit Left(VmExit exit)
    {
        _passes |= SingleStep && exit != VmExit.Kicked;
        return exit;
    }

    /// <summary>A state was loaded: a breakpoint at its first instruction counts.</summary>
    public void Loaded() => _passes = SingleStep;
}
