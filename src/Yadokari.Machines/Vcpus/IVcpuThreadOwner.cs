using Yadokari.Core.Engines;

namespace Yadokari.Machines.Vcpus;

/// <summary>What a vCPU's thread asks of its machine, on that thread.</summary>
internal interface IVcpuThreadOwner
{
    /// <summary>Before each entry into guest code: parks the vCPU until it may run. False ends the thread.</summary>
    bool Pass(VcpuThread thread);

    /// <summary>Whether an interrupt is there to take. Also called under the thread's innermost lock: volatile reads only.</summary>
    bool HasInterrupt(int vcpu);

    /// <summary>
    /// The vCPU met a breakpoint or finished a step (<see cref="VmExit.Debug"/>), or met a triple fault (<see cref="VmExit.Shutdown"/>): a debugger may have
    /// the next <see cref="Pass"/> hold it.
    /// </summary>
    void OnDebug(VcpuThread thread, VmExit exit);

    /// <summary>The vCPU is shut down by a triple fault, and no debugger holds it any more.</summary>
    void OnShutdown(VcpuThread thread);
}
