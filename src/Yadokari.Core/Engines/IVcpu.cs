namespace Yadokari.Core.Engines;

/// <summary>
/// A virtual processor of any architecture. One thread at a time may call <see cref="Run"/> and the members that access state. After disposal,
/// members that are documented for any thread do nothing, and the others throw <see cref="ObjectDisposedException"/>.
/// </summary>
public interface IVcpu : IDisposable
{
    /// <summary>Its number, from 0.</summary>
    int Id { get; }

    /// <summary>Runs guest code on the calling thread until an event of <see cref="VmExit"/>.</summary>
    /// <exception cref="InvalidOperationException">The machine's clock is stopped.</exception>
    VmExit Run();

    /// <summary>Makes <see cref="Run"/> return soon with <see cref="VmExit.Kicked"/>, also when called just before it. Any thread.</summary>
    void Kick();

    /// <summary>Makes the engine query <see cref="IVcpuHost.HasInterrupt"/> soon, without leaving <see cref="Run"/>. Any thread.</summary>
    void Notify();

    /// <summary>RAM was written inside a call of <see cref="IVcpuHost"/> on this vCPU's thread: as <see cref="IVm.MemoryWritten"/>.</summary>
    void MemoryWritten(ulong gpa, ulong length);

    /// <summary>
    /// Virtual addresses at which <see cref="Run"/> returns <see cref="VmExit.Debug"/> before the instruction executes. It executes if <see cref="Run"/> returned
    /// so for it, or <see cref="SingleStep"/> was assigned, and no state was loaded since: a debugger resumes there.
    /// </summary>
    void SetBreakpoints(IReadOnlyCollection<ulong> addresses);

    /// <summary>While set, <see cref="Run"/> returns <see cref="VmExit.Debug"/> after each instruction, also in a halted guest, whatever other exits come between.</summary>
    bool SingleStep { get; set; }
}

/// <summary>
/// The machine's callbacks for a running vCPU; each architecture extends it. Called synchronously on the vCPU's thread from inside an engine:
/// implementations must not throw and must not wait for the same vCPU. One object may serve several vCPUs: calls give the vCPU's number.
/// </summary>
public interface IVcpuHost
{
    /// <summary>Handles a read outside of RAM. Unclaimed addresses read as all ones.</summary>
    void MmioRead(int vcpu, ulong gpa, Span<byte> data);

    /// <summary>Handles a write outside of RAM. Writes to unclaimed addresses are ignored.</summary>
    void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data);

    /// <summary>
    /// Whether the interrupt controllers have an interrupt pending for this vCPU. The engine checks whether the guest has interrupts
    /// enabled.
    /// </summary>
    bool HasInterrupt(int vcpu);
}
