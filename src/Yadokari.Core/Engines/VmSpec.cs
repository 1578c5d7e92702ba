using Yadokari.Core.Memory;

namespace Yadokari.Core.Engines;

/// <summary>Describes a virtual machine to an engine.</summary>
/// <param name="Memory">All RAM of the guest. Not owned: the caller disposes of it after the virtual machine.</param>
/// <param name="Cpu">The CPU model that the guest sees.</param>
/// <param name="Vcpus">The largest count of vCPUs, with the numbers from 0.</param>
/// <param name="Interrupts">Where the interrupt controllers are.</param>
public sealed record VmSpec(GuestMemory Memory, ICpuModel Cpu, int Vcpus, InterruptMode Interrupts = InterruptMode.Emulated);

/// <summary>
/// The CPU model that a guest sees. Created outside of the engine, and immutable. Each architecture has its own type, known to the engines that
/// support it.
/// </summary>
public interface ICpuModel
{
    /// <summary>The architecture's common name, for messages: x86-64.</summary>
    string Architecture { get; }
}

/// <summary>Where a machine's interrupt controllers are.</summary>
public enum InterruptMode
{
    /// <summary>All of them are devices of the machine: vCPUs query <see cref="IVcpuHost.HasInterrupt"/>.</summary>
    Emulated,

    /// <summary>The engine emulates those of the vCPUs (the local APICs); those behind them (I/O APIC, 8259) are devices.</summary>
    Split,

    /// <summary>The engine emulates all of them.</summary>
    Engine,
}
