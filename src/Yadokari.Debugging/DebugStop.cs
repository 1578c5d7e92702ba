namespace Yadokari.Debugging;

/// <summary>Why the machine stopped.</summary>
public enum DebugStopReason
{
    /// <summary>The debugger asked for it.</summary>
    Requested,

    /// <summary>A breakpoint, or the end of a single step.</summary>
    Debug,

    /// <summary>A triple fault. The state is the one the processor shut down with.</summary>
    Shutdown,

    /// <summary>The machine has ended: its vCPUs must not be accessed any more.</summary>
    Ended,
}

/// <summary>A stop of the whole machine.</summary>
/// <param name="Vcpu">Index of the vCPU that caused it.</param>
/// <param name="Reason">The cause.</param>
/// <param name="ExitCode">For <see cref="DebugStopReason.Ended"/>: the exit code that the user will see.</param>
public readonly record struct DebugStop(int Vcpu, DebugStopReason Reason, int ExitCode = 0);
