using Yadokari.Core.Engines;

namespace Yadokari.X86.Engines;

/// <summary>The machine's callbacks for a running x86 vCPU.</summary>
public interface IX86VcpuHost : IVcpuHost
{
    /// <summary>IN, of 1, 2 or 4 bytes.</summary>
    void PioRead(int vcpu, ushort port, Span<byte> data);

    /// <summary>OUT, of 1, 2 or 4 bytes.</summary>
    void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data);

    /// <summary>RDMSR of a register that belongs to the machine (<see cref="Msrs.MsrKind.Machine"/>); false makes the guest take #GP.</summary>
    bool ReadMsr(int vcpu, uint index, out ulong value);

    /// <summary>WRMSR of a register that belongs to the machine; false makes the guest take #GP.</summary>
    bool WriteMsr(int vcpu, uint index, ulong value);

    /// <summary>
    /// Reports that a vCPU's time-stamp counter was changed, as <see cref="IX86Vcpu.ReadTsc"/> shows. Called on the vCPU's thread if the guest
    /// wrote it, on another thread if a member of <see cref="IGuestClock"/> changed it.
    /// </summary>
    void TscChanged(int vcpu);

    /// <summary>CR8: the task priority, 0 to 15.</summary>
    byte ReadTaskPriority(int vcpu);

    /// <summary>CR8: the task priority, 0 to 15.</summary>
    void WriteTaskPriority(int vcpu, byte value);

    /// <summary>Takes the interrupt of the highest priority, as INTA does. Returns its vector, or -1 if it went away.</summary>
    int AcknowledgeInterrupt(int vcpu);

    /// <summary>VMCALL or VMMCALL. False makes the guest take #UD.</summary>
    bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result);
}
