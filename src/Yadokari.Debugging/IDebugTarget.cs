using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;

namespace Yadokari.Debugging;

/// <summary>What a vCPU does when the machine goes on.</summary>
public enum VcpuAction
{
    /// <summary>Stays stopped while others go on.</summary>
    Stay,

    /// <summary>Runs until something stops the machine.</summary>
    Run,

    /// <summary>Executes one instruction, then stops the machine.</summary>
    Step,
}

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

/// <summary>
/// What a debugger needs of a machine. All vCPUs stop and go together. One debugger at a time attaches;
/// members may be called from any thread, those that touch vCPUs only while the machine is stopped.
/// </summary>
public interface IDebugTarget
{
    /// <summary>Number of vCPUs; constant.</summary>
    int VcpuCount { get; }

    /// <summary>Guest RAM, for page walks.</summary>
    GuestMemory Memory { get; }

    /// <summary>A vCPU. To be used only between a stop's announcement and the next <see cref="Resume"/> or <see cref="Detach"/>.</summary>
    IX86Vcpu Vcpu(int index);

    /// <summary>CR8 of a vCPU, 0 to 15, which lives in the machine and not in the vCPU.</summary>
    byte ReadTaskPriority(int vcpu);

    /// <summary>Sets CR8 of a vCPU, 0 to 15.</summary>
    void WriteTaskPriority(int vcpu, byte value);

    /// <summary>
    /// Begins debugging and asks the machine to stop. <paramref name="stopped"/> is called exactly once for this call and once for each
    /// <see cref="Resume"/>, when every vCPU has left guest code, and once more when the machine ends. It is called on any thread with
    /// the target's lock held: it takes note and returns, calling nothing of the target.
    /// </summary>
    /// <exception cref="InvalidOperationException">A debugger is attached already.</exception>
    void Attach(Action<DebugStop> stopped);

    /// <summary>Asks the machine to stop and returns at once. Does nothing where it is stopped or stopping.</summary>
    void Stop();

    /// <summary>Lets the machine go on. It must be stopped.</summary>
    /// <param name="actions">One for each vCPU; at least one must not be <see cref="VcpuAction.Stay"/>.</param>
    void Resume(ReadOnlySpan<VcpuAction> actions);

    /// <summary>
    /// Ends debugging, at any time: drops breakpoints (a running machine stops for a moment to that end) and lets all vCPUs run. No stop
    /// is announced any more. Returns at once.
    /// </summary>
    void Detach();

    /// <summary>Ends the machine as if its power were cut; returns at once.</summary>
    void Kill();
}
