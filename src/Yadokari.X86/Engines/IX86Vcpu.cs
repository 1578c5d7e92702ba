using Yadokari.Core.Engines;
using Yadokari.X86.State;

namespace Yadokari.X86.Engines;

/// <summary>A virtual x86-64 processor. Its <see cref="IVcpu.Id"/> is also its APIC ID.</summary>
public interface IX86Vcpu : IVcpu
{
    /// <summary>Has the guest take a non-maskable interrupt as soon as it may (Intel SDM volume 3, 6.7). Any thread.</summary>
    void RaiseNmi();

    /// <summary>Whether an NMI waits that the guest may take. Any thread.</summary>
    bool HasNmi { get; }

    /// <summary>
    /// Opens or closes address line 20: while it is closed, bit 20 of every physical address is 0. It is open after reset. Any thread; takes hold
    /// before the next instruction of the vCPU whose instruction asked for it, and soon on others.
    /// </summary>
    void SetA20(bool open);

    /// <summary>The time-stamp counter as RDTSC gives it now: the machine's clock and IA32_TSC_ADJUST. Any thread.</summary>
    ulong ReadTsc();

    /// <summary>Copies all of the architectural state out: what was there before is replaced.</summary>
    void Save(X86State state);

    /// <summary>
    /// Replaces all of the architectural state, also what other threads asked for meanwhile by <see cref="RaiseNmi"/> and <see cref="SetA20"/>.
    /// Model-specific registers that it lacks get their values after reset.
    /// </summary>
    /// <exception cref="ArgumentException">It has something that the vCPU can't have, which the message names. Nothing is changed then.</exception>
    void Load(X86State state);

    /// <summary>Reads guest memory at a linear address through the guest's page tables, as a debugger does. False if not mapped.</summary>
    bool ReadLinear(ulong address, Span<byte> data);

    /// <summary>Writes guest memory at a linear address through the guest's page tables, ignoring write protection. False if not mapped.</summary>
    bool WriteLinear(ulong address, ReadOnlySpan<byte> data);

    /// <summary>
    /// While set, exceptions and software interrupts end <see cref="IVcpu.Run"/> with <see cref="VmExit.Exception"/> instead of going through
    /// the guest's IDT.
    /// </summary>
    /// <exception cref="NotSupportedException">It is set, and the engine can't.</exception>
    bool CatchExceptions { get; set; }

    /// <summary>The last exception that was caught; default before the first.</summary>
    CaughtException Caught { get; }
}

/// <summary>An exception or software interrupt that did not reach the guest.</summary>
/// <param name="Vector">0 to 255.</param>
/// <param name="ErrorCode">What it would have pushed, or null.</param>
/// <param name="Software">INT n, INT3 or INTO: RIP is after the instruction. Else it is at the one that faulted (or, of a trap, after it).</param>
public readonly record struct CaughtException(int Vector, uint? ErrorCode, bool Software);

/// <summary>What the vCPUs of x86 machines are.</summary>
public static class X86Vm
{
    /// <summary>Makes a vCPU of a machine whose CPU model is a <see cref="CpuModel"/>: <see cref="IVm.CreateVcpu"/> by its true type.</summary>
    public static IX86Vcpu CreateX86Vcpu(this IVm vm, int id, IX86VcpuHost host) => (IX86Vcpu)vm.CreateVcpu(id, host);
}
