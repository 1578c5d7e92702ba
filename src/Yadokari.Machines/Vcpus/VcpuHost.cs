using Yadokari.Core.Buses;
using Yadokari.Core.Engines;

namespace Yadokari.Machines.Vcpus;

/// <summary>Routes what vCPUs ask of the machine: to the buses, and to each vCPU's own local APIC.</summary>
/// <param name="pio">Ports.</param>
/// <param name="mmio">Memory-mapped devices.</param>
internal sealed class VcpuHost(Bus pio, Bus mmio) : IVcpuHost
{
    private const ulong ApicPageMask = ~(Layout.LocalApicSize - 1);

    /// <summary>The vCPUs by number; set once they are made.</summary>
    public VcpuThread[] Threads { get; set; } = [];

    /// <summary>Each vCPU's page of local APIC registers, as a bus of its own, which counts.</summary>
    public Bus[] Apics { get; set; } = [];

    /// <summary>Is told after a vCPU took an interrupt. On the vCPU's thread.</summary>
    public Action? Acknowledged { get; set; }

    /// <summary>A debugger's gate, if there is one.</summary>
    public IVcpuGate? Gate { get; set; }

    /// <inheritdoc/>
    public void MmioRead(int vcpu, ulong gpa, Span<byte> data)
    {
        if (IsApic(vcpu, gpa))
        {
            Apics[vcpu].Read(gpa & ~ApicPageMask, data);
        }
        else
        {
            mmio.Read(gpa, data);
        }
    }

    /// <inheritdoc/>
    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
        if (IsApic(vcpu, gpa))
        {
            Apics[vcpu].Write(gpa & ~ApicPageMask, data);
        }
        else
        {
            mmio.Write(gpa, data);
        }
    }

    /// <inheritdoc/>
    public void PioRead(int vcpu, ushort port, Span<byte> data) => pio.Read(port, data);

    /// <inheritdoc/>
    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data) => pio.Write(port, data);

    /// <inheritdoc/>
    public bool ReadMsr(int vcpu, uint index, out ulong value) => Threads[vcpu].Apic.ReadMsr(index, out value);

    /// <inheritdoc/>
    public bool WriteMsr(int vcpu, uint index, ulong value) => Threads[vcpu].Apic.WriteMsr(index, value);

    /// <inheritdoc/>
    public byte ReadTaskPriority(int vcpu) => Threads[vcpu].Apic.TaskPriority;

    /// <inheritdoc/>
    public void WriteTaskPriority(int vcpu, byte value) => Threads[vcpu].Apic.TaskPriority = value;

    /// <inheritdoc/>
    public bool HasInterrupt(int vcpu) => Threads[vcpu].Apic.HasInterrupt && Gate?.IsStepping(vcpu) != true;

    /// <inheritdoc/>
    public int AcknowledgeInterrupt(int vcpu)
    {
        int vector = Threads[vcpu].Apic.Acknowledge();
        Acknowledged?.Invoke();
        return vector;
    }

    /// <inheritdoc/>
    public bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result)
    {
        // No hypercall interface is offered yet: VMCALL is an undefined opcode, as on a machine without a hypervisor.
        result = 0;
        return false;
    }

    private bool IsApic(int vcpu, ulong gpa) => Threads[vcpu].Apic is { MmioEnabled: true } apic && (gpa & ApicPageMask) == apic.BaseAddress;
}
