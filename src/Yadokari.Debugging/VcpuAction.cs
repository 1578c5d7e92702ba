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
