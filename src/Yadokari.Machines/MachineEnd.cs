using Yadokari.X86.State;

namespace Yadokari.Machines;

/// <summary>How a machine's run came to its end.</summary>
public enum EndReason
{
    /// <summary>The guest powered off.</summary>
    PowerOff,

    /// <summary>The guest asked for a reset, and the machine was built to end then.</summary>
    Reset,

    /// <summary>A processor shut down after a triple fault.</summary>
    TripleFault,

    /// <summary>The guest's kernel panicked and did not go on to power off or reset.</summary>
    Panic,

    /// <summary><see cref="Machine.Stop"/> was called.</summary>
    Stopped,

    /// <summary>A test guest wrote a code to the debug exit port.</summary>
    DebugExit,
}

/// <summary>The end of a machine's run.</summary>
/// <param name="Reason">How it ended.</param>
public sealed record MachineEnd(EndReason Reason)
{
    /// <summary>The vCPU that met a triple fault.</summary>
    public int Vcpu { get; init; }

    /// <summary>A triple fault's state.</summary>
    public X86State? State { get; init; }

    /// <summary>What the kernel said when it panicked since it last started, whatever came after that; null if it did not.</summary>
    public string? Panic { get; init; }

    /// <summary>What was written to the debug exit port.</summary>
    public uint Code { get; init; }
}
