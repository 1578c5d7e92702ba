namespace Yadokari.Machines;

/// <summary>Lets a debugger stop vCPU threads. Called by the thread of the vCPU except where a line says otherwise.</summary>
public interface IVcpuGate
{
    /// <summary>Before guest code runs and before a wait in HLT. Returns when the vCPU may go on.</summary>
    void Enter(int vcpu);

    /// <summary>A breakpoint or the end of a single step. Returns when the vCPU may go on.</summary>
    void Debug(int vcpu);

    /// <summary>A triple fault, before the machine acts on it.</summary>
    void Shutdown(int vcpu);

    /// <summary>The thread ends, or is about to wait for other vCPUs: no debugger waits for it until it enters again.</summary>
    void Leave(int vcpu);

    /// <summary>The machine is ending: no vCPU is stopped from now on. Any thread.</summary>
    void Open();

    /// <summary>Whether the vCPU executes a single step: it then gets no interrupts, and HLT ends the step. Any thread.</summary>
    bool IsStepping(int vcpu);
}
