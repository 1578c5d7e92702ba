namespace Yadokari.Machines.Vcpus;

/// <summary>What a vCPU's thread asks of its machine, on that thread.</summary>
internal interface IVcpuThreadOwner
{
    /// <summary>Before each entry into guest code: meets the other vCPUs where the machine resets. False ends the thread.</summary>
    bool Pass(VcpuThread thread);

    /// <summary>Whether an interrupt is there to take. Also called under the thread's innermost lock: volatile reads only.</summary>
    bool HasInterrupt(int vcpu);

    /// <summary>Whether a debugger steps the vCPU: HLT then ends the step.</summary>
    bool IsStepping(VcpuThread thread);

    /// <summary>The vCPU met a breakpoint or finished a step.</summary>
    void OnDebug(VcpuThread thread);

    /// <summary>The vCPU met a triple fault.</summary>
    void OnShutdown(VcpuThread thread);
}
