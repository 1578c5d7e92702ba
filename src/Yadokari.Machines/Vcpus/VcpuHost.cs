using Yadokari.Core.Buses;
using Yadokari.Core.Engines;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.Timers;
using Yadokari.X86.Engines;

namespace Yadokari.Machines.Vcpus;

/// <summary>Routes what vCPUs ask of the machine: to the buses, and to each vCPU's own local APIC.</summary>
/// <param name="pio">Ports.</param>
/// <param name="mmio">Memory-mapped devices.</param>
/// <param name="apicBus">What hypercalls send interrupts by.</param>
internal sealed class VcpuHost(Bus pio, Bus mmio, ApicBus apicBus) : IX86VcpuHost
{
    private const ulong ApicPageMask = ~(Layout.LocalApicSize - 1);

    /// <summary>The vCPUs by number; set once they are made.</summary>
    public VcpuThread[] Threads { get; set; } = [];

    /// <summary>Each vCPU's page of local APIC registers, as a bus of its own, which counts.</summary>
    public Bus[] Apics { get; set; } = [];

    /// <summary>The clock in guest memory; null for none.</summary>
    public PvClock? PvClock { get; set; }

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
    public bool ReadMsr(int vcpu, uint index, out ulong value)
    {
        if (PvClock is not { } clock || !IsPvClock(index))
        {
            return Threads[vcpu].Apic.ReadMsr(index, out value);
        }

        value = clock.ReadMsr(vcpu, index);
        return true;
    }

    /// <inheritdoc/>
    public bool WriteMsr(int vcpu, uint index, ulong value)
    {
        if (PvClock is not { } clock || !IsPvClock(index))
        {
            return Threads[vcpu].Apic.WriteMsr(index, value);
        }

        clock.WriteMsr(vcpu, index, value, Threads[vcpu].Vcpu.MemoryWritten);
        return true;
    }

    /// <inheritdoc/>
    public void TscChanged(int vcpu) => Threads[vcpu].Apic.TscChanged();

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
        // KVM's calls by their numbers (Linux, Documentation/virt/kvm/x86/hypercalls.rst). CPUID announces none of them yet.
        const ulong sendIpi = 10;
        const long unknown = -1000;
        result = number == sendIpi ? SendIpis(arguments) : unchecked((ulong)unknown);
        return true;
    }

    // Two words of APIC IDs, a bit each, counted from the third; then the low half of the interrupt command register.
    private ulong SendIpis(ReadOnlySpan<ulong> arguments)
    {
        ulong sent = 0;
        for (int bit = 0; bit < 128; bit++)
        {
            ulong id = arguments[2] + (ulong)bit;
            if ((arguments[bit / 64] >> (bit % 64) & 1) != 0 && id < Layout.MaxCpus)
            {
                var message = new ApicMessage((uint)id, false, (ApicDelivery)(arguments[3] >> 8 & 7), (byte)arguments[3], Level: false, Wide: true);
                sent += apicBus.Send(message) ? 1u : 0;
            }
        }

        return sent;
    }

    private static bool IsPvClock(uint index) => index is PvClock.WallClockMsr or PvClock.SystemTimeMsr;

    private bool IsApic(int vcpu, ulong gpa) => Threads[vcpu].Apic is { MmioEnabled: true } apic && (gpa & ApicPageMask) == apic.BaseAddress;
}
