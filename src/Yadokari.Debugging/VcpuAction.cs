namespace Yadokari.Debugging;

/// <summary>What a vCPU does when the machine resumes.</summary>
public enum VcpuAction
{
    /// <summary>Stays stopped while others run.</summary>
    Stay,

    /// <summary>Runs until something stops the machine.</summary>
    Run,

    /// <summary>Executes one instruction, then stops the machine.</summary>
    Step,
}
