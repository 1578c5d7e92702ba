using Yadokari.Core.Memory;

namespace Yadokari.Core.Engines;

/// <summary>What an engine makes a virtual machine of.</summary>
/// <param name="Memory">All RAM of the guest. Not owned: it is disposed of after the virtual machine.</param>
/// <param name="Cpu">What processors the guest sees.</param>
/// <param name="Vcpus">How many vCPUs are made at most, with the numbers from 0.</param>
/// <param name="Interrupts">Where the interrupt controllers are.</param>
public sealed record VmSpec(GuestMemory Memory, ICpuModel Cpu, int Vcpus, InterruptMode Interrupts = InterruptMode.Emulated);

/// <summary>
/// What processors a guest sees. Made outside of the engine and immutable; each architecture has its own type, which the engines that run
/// it know.
/// </summary>
public interface ICpuModel
{
    /// <summary>The instruction set as users call it, for messages: x86-64.</summary>
    string Architecture { get; }
}

/// <summary>Where a machine's interrupt controllers are.</summary>
public enum InterruptMode
{
    /// <summary>All of them are devices of the machine: vCPUs ask for interrupts by <see cref="IVcpuHost.HasInterrupt"/>.</summary>
    Emulated,

    /// <summary>Those of the vCPUs (the local APICs) are the engine's, those behind them (I/O APIC, 8259) are devices.</summary>
    Split,

    /// <summary>All of them are the engine's.</summary>
    Engine,
}
