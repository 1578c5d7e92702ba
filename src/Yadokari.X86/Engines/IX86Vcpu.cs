using Yadokari.Core.Engines;
using Yadokari.X86.State;

namespace Yadokari.X86.Engines;

/// <summary>A virtual x86-64 processor. Its <see cref="IVcpu.Id"/> is also its APIC ID.</summary>
public interface IX86Vcpu : IVcpu
{
    /// <summary>Makes a non-maskable interrupt pending, which the guest takes when it is not blocked (Intel SDM volume 3, 6.7). Any thread.</summary>
    void RaiseNmi();

    /// <summary>Whether an NMI is pending and not blocked. Any thread.</summary>
    bool HasNmi { get; }

    /// <summary>
    /// Enables or disables address line A20: while it is disabled, bit 20 of every physical address is 0. Enabled after reset. Any thread; takes
    /// effect before the next instruction of the vCPU whose instruction changed it, and soon on others.
    /// </summary>
    void SetA20(bool open);

    /// <summary>The current value of the time-stamp counter: the machine's clock plus IA32_TSC_ADJUST. Any thread.</summary>
    ulong ReadTsc();

    /// <summary>Copies the complete architectural state to <paramref name="state"/>, and replaces its content.</summary>
    void Save(X86State state);

    /// <summary>
    /// Replaces the complete architectural state, including requests of other threads by <see cref="RaiseNmi"/> and <see cref="SetA20"/>.
    /// Model-specific registers that <paramref name="state"/> lacks get their reset values.
    /// </summary>
    /// <exception cref="ArgumentException">A value is not valid for the vCPU; the message names it. Nothing is changed then.</exception>
    void Load(X86State state);

    /// <summary>Reads guest memory at a linear address through the guest's page tables, as a debugger does. False if not mapped.</summary>
    bool ReadLinear(ulong address, Span<byte> data);

    /// <summary>Writes guest memory at a linear address through the guest's page tables, ignoring write protection. False if not mapped.</summary>
    bool WriteLinear(ulong address, ReadOnlySpan<byte> data);

    /// <summary>
    /// While set, exceptions and software interrupts end <see cref="IVcpu.Run"/> with <see cref="VmExit.Exception"/> instead of going through
    /// the guest's IDT.
    /// </summary>
    /// <exception cref="NotSupportedException">It is set, and the engine does not support it.</exception>
    bool CatchExceptions { get; set; }

    /// <summary>The last exception that was caught; default before the first.</summary>
    CaughtException Caught { get; }
}

/// <summary>An exception or software interrupt that was not delivered to the guest.</summary>
/// <param name="Vector">0 to 255.</param>
/// <param name="ErrorCode">Its error code; null if it has none.</param>
/// <param name="Software">Raised by INT n, INT3 or INTO: RIP is after the instruction. Otherwise RIP is at the faulting instruction (for a trap, after it).</param>
public readonly record struct CaughtException(int Vector, uint? ErrorCode, bool Software);

/// <summary>Typed access to x86 virtual machines.</summary>
public static class X86Vm
{
    /// <summary>Creates a vCPU of a machine whose CPU model is a <see cref="CpuModel"/>: <see cref="IVm.CreateVcpu"/> with its x86 type.</summary>
    public static IX86Vcpu CreateX86Vcpu(this IVm vm, int id, IX86VcpuHost host) => (IX86Vcpu)vm.CreateVcpu(id, host);
}
