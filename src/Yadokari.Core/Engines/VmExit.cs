namespace Yadokari.Core.Engines;

/// <summary>Why <see cref="IVcpu.Run"/> returned.</summary>
public enum VmExit
{
    /// <summary><see cref="IVcpu.Kick"/> was called.</summary>
    Kicked,

    /// <summary>The guest waits for an interrupt (HLT): wait until <see cref="IVcpuHost.HasInterrupt"/>, then run again.</summary>
    Halted,

    /// <summary>The guest executed HLT with interrupts disabled: only an NMI, INIT or a reset ends that.</summary>
    HaltedWithInterruptsDisabled,

    /// <summary>The processor shut down (a triple fault): only loading another state ends that.</summary>
    Shutdown,

    /// <summary>The vCPU waits to be started, by a start-up message (SIPI) on x86: only loading another state ends that.</summary>
    WaitsForStart,

    /// <summary>A debugger's breakpoint or single step: the instruction pointer is at the next instruction to run.</summary>
    Debug,

    /// <summary>The guest raised an exception that the host asked to catch; the architecture's interface gives its details.</summary>
    Exception,
}
