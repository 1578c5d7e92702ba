namespace Yadokari.Core.Engines;

/// <summary>
/// One virtual machine under an engine. Made and disposed of by the machine; vCPUs are disposed of with it. A machine is reset by loading
/// the state after reset into each vCPU and setting <see cref="Clock"/> to 0: the engine keeps nothing else of a guest.
/// </summary>
public interface IVm : IDisposable
{
    /// <summary>Makes a vCPU in the state after reset. While no vCPU of the machine runs.</summary>
    /// <param name="id">Its number, less than <see cref="VmSpec.Vcpus"/>, which no other has.</param>
    /// <param name="host">What it asks of the machine: the interface of the CPU model's architecture. It may serve several vCPUs.</param>
    /// <exception cref="ArgumentException">The number is taken or too high, or the host is none of the architecture.</exception>
    IVcpu CreateVcpu(int id, IVcpuHost host);

    /// <summary>The clock that all vCPUs count by.</summary>
    IGuestClock Clock { get; }

    /// <summary>Which pages of RAM are written.</summary>
    IDirtyLog DirtyLog { get; }

    /// <summary>
    /// RAM was written by no vCPU: by a device, or the machine. Whatever the engine derived from the old bytes is gone when this returns, and
    /// the pages are in the <see cref="DirtyLog"/>. May wait for vCPUs to leave guest code: called on a thread that is none of theirs, with no
    /// lock held that a vCPU's access to a device may wait for.
    /// </summary>
    void MemoryWritten(ulong gpa, ulong length);

    /// <summary>Counters worth showing, in the order to show them. Any thread.</summary>
    IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics { get; }
}
