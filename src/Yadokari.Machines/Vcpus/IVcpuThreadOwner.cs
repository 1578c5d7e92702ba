using Yadokari.Core.Engines;

namespace Yadokari.Machines.Vcpus;

/// <summary>Calls of a vCPU's thread to its machine, on that thread.</summary>
internal interface IVcpuThreadOwner
{
    /// <summary>Before each entry into guest code: parks the vCPU until it may run. False ends the thread.</summary>
    bool Pass(VcpuThread thread);

    /// <summary>Whether an interrupt is pending. Also called under the thread's innermost lock: volatile reads only.</summary>
    bool HasInterrupt(int vcpu);

    /// <summary>
    /// The vCPU reached a breakpoint or completed a step (<see cref="VmExit.Debug"/>), or shut down by a triple fault (<see cref="VmExit.Shutdown"/>). A
    /// debugger may hold it in the next <see cref="Pass"/>.
    /// </summary>
    void OnDebug(VcpuThread thread, VmExit exit);

    /// <summary>The vCPU shut down by a triple fault, and no debugger holds it.</summary>
    void OnShutdown(VcpuThread thread);
}
