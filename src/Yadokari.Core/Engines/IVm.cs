namespace Yadokari.Core.Engines;

/// <summary>
/// One virtual machine of an engine. The machine creates and disposes of it; its vCPUs are disposed of with it. To reset it, load the reset state
/// into each vCPU and set <see cref="Clock"/> to 0: the engine has no other state of a guest.
/// </summary>
public interface IVm : IDisposable
{
    /// <summary>Creates a vCPU in the reset state. Only while no vCPU of the machine runs.</summary>
    /// <param name="id">Its unique number, less than <see cref="VmSpec.Vcpus"/>.</param>
    /// <param name="host">The machine's callbacks; implements the interface of the CPU model's architecture. It may serve several vCPUs.</param>
    /// <exception cref="ArgumentException">The number is taken or too high, or the host does not implement the architecture's interface.</exception>
    IVcpu CreateVcpu(int id, IVcpuHost host);

    /// <summary>The base of all vCPUs' counters.</summary>
    IGuestClock Clock { get; }

    /// <summary>Records which pages of RAM are written.</summary>
    IDirtyLog DirtyLog { get; }

    /// <summary>
    /// Reports that a device or the machine wrote RAM. When this returns, the engine has dropped everything derived from the old bytes, and the
    /// pages are in the <see cref="DirtyLog"/>. May wait for vCPUs to leave guest code: not called on a vCPU's thread, nor with a lock held that
    /// a vCPU's access to a device may wait for.
    /// </summary>
    void MemoryWritten(ulong gpa, ulong length);

    /// <summary>Counters for <c>--stats</c>, in the order to show them. Any thread.</summary>
    IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics { get; }
}
