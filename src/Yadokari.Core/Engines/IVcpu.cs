namespace Yadokari.Core.Engines;

/// <summary>
/// A virtual processor of whatever architecture. <see cref="Run"/> and what reads or changes state is for one thread at a time; what is said to
/// be for any thread does nothing once the vCPU is disposed of, and the rest throws <see cref="ObjectDisposedException"/>.
/// </summary>
public interface IVcpu : IDisposable
{
    /// <summary>Its number, from 0.</summary>
    int Id { get; }

    /// <summary>Runs guest code on the calling thread until something needs the machine.</summary>
    /// <exception cref="InvalidOperationException">The machine's clock is stopped.</exception>
    VmExit Run();

    /// <summary>Makes <see cref="Run"/> return soon with <see cref="VmExit.Kicked"/>, also when called just before it. Any thread.</summary>
    void Kick();

    /// <summary>Makes the engine look at <see cref="IVcpuHost.HasInterrupt"/> soon, without leaving <see cref="Run"/>. Any thread.</summary>
    void Notify();

    /// <summary>RAM was written inside a call of <see cref="IVcpuHost"/> on this vCPU's thread: as <see cref="IVm.MemoryWritten"/>.</summary>
    void MemoryWritten(ulong gpa, ulong length);

    /// <summary>Virtual addresses at which <see cref="Run"/> returns <see cref="VmExit.Debug"/> before the instruction executes.</summary>
    void SetBreakpoints(IReadOnlyCollection<ulong> addresses);

    /// <summary>While set, <see cref="Run"/> returns <see cref="VmExit.Debug"/> after each instruction, and does not wait where the guest halted.</summary>
    bool SingleStep { get; set; }
}

/// <summary>
/// What a vCPU asks of the machine while it runs; each architecture adds to it. Called synchronously on the vCPU's thread from deep inside an
/// engine: implementations must not throw and must not wait for the same vCPU. One object may serve several vCPUs: calls say which it is.
/// </summary>
public interface IVcpuHost
{
    /// <summary>A read that is not RAM. Unclaimed addresses give all ones.</summary>
    void MmioRead(int vcpu, ulong gpa, Span<byte> data);

    /// <summary>A write that is not RAM. Unclaimed addresses swallow it.</summary>
    void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data);

    /// <summary>
    /// Whether an interrupt is ready to be taken by this vCPU as far as the interrupt controllers are concerned; whether the guest has them
    /// enabled is the engine's to know.
    /// </summary>
    bool HasInterrupt(int vcpu);
}
