using Yadokari.Core.Buses;
using Yadokari.Core.Engines;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.Timers;
using Yadokari.X86.Engines;

namespace Yadokari.Boards.Pc;

/// <summary>
/// Routes what vCPUs ask of the machine: to the buses, and to each vCPU's own local APIC. Made before the engine's virtual machine; the board fills it.
/// </summary>
public sealed class PcVcpuHost : IX86VcpuHost
{
    private const ulong ApicPageMask = ~(PcLayout.LocalApicSize - 1);

    private IBoardVcpu[] _vcpus = [];
    private LocalApic[] _apics = [];
    private Bus[] _apicPages = [];

    /// <summary>Ports.</summary>
    public Bus Pio { get; } = new("pio");

    /// <summary>Memory-mapped devices.</summary>
    public Bus Mmio { get; } = new("mmio");

    /// <summary>The bus of interrupt messages between local APICs, I/O APIC and devices.</summary>
    public ApicBus ApicBus { get; } = new();

    /// <summary>Each vCPU's page of local APIC registers, as a bus of its own, which counts.</summary>
    public IReadOnlyList<Bus> ApicPages => _apicPages;

    /// <summary>The paravirtual clock (kvmclock); null for none.</summary>
    public PvClock? PvClock { get; set; }

    /// <summary>Called after a vCPU acknowledged an interrupt. On the vCPU's thread.</summary>
    public Action? Acknowledged { get; set; }

    /// <summary>Whether interrupts of a vCPU are inhibited, as while a debugger single-steps it; null for never. On the vCPU's thread.</summary>
    public Func<int, bool>? WithholdsInterrupts { get; set; }

    /// <summary>Wires the vCPUs, by number. Before any runs.</summary>
    internal void Wire(IEnumerable<IBoardVcpu> vcpus, IEnumerable<LocalApic> apics)
    {
        _vcpus = [.. vcpus];
        _apics = [.. apics];
        _apicPages = new Bus[_apics.Length];
        for (int i = 0; i < _apics.Length; i++)
        {
            _apicPages[i] = new Bus($"apic{i}");
            _apicPages[i].Map(0, PcLayout.LocalApicSize, "registers", _apics[i]);
        }
    }

    /// <inheritdoc/>
    public void MmioRead(int vcpu, ulong gpa, Span<byte> data)
    {
        if (IsApic(vcpu, gpa))
        {
            _apicPages[vcpu].Read(gpa & ~ApicPageMask, data);
        }
        else
        {
            Mmio.Read(gpa, data);
        }
    }

    /// <inheritdoc/>
    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
        if (IsApic(vcpu, gpa))
        {
            _apicPages[vcpu].Write(gpa & ~ApicPageMask, data);
        }
        else
        {
            Mmio.Write(gpa, data);
        }
    }

    /// <inheritdoc/>
    public void PioRead(int vcpu, ushort port, Span<byte> data) => Pio.Read(port, data);

    /// <inheritdoc/>
    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data) => Pio.Write(port, data);

    /// <inheritdoc/>
    public bool ReadMsr(int vcpu, uint index, out ulong value)
    {
        if (PvClock is not { } clock || !IsPvClock(index))
        {
            return _apics[vcpu].ReadMsr(index, out value);
        }

        value = clock.ReadMsr(vcpu, index);
        return true;
    }

    /// <inheritdoc/>
    public bool WriteMsr(int vcpu, uint index, ulong value)
    {
        if (PvClock is not { } clock || !IsPvClock(index))
        {
            return _apics[vcpu].WriteMsr(index, value);
        }

        clock.WriteMsr(vcpu, index, value, _vcpus[vcpu].Vcpu.MemoryWritten);
        return true;
    }

    /// <inheritdoc/>
    public void TscChanged(int vcpu) => _apics[vcpu].TscChanged();

    /// <inheritdoc/>
    public byte ReadTaskPriority(int vcpu) => _apics[vcpu].TaskPriority;

    /// <inheritdoc/>
    public void WriteTaskPriority(int vcpu, byte value) => _apics[vcpu].TaskPriority = value;

    /// <inheritdoc/>
    public bool HasInterrupt(int vcpu) => _apics[vcpu].HasInterrupt && WithholdsInterrupts?.Invoke(vcpu) != true;

    /// <inheritdoc/>
    public int AcknowledgeInterrupt(int vcpu)
    {
        int vector = _apics[vcpu].Acknowledge();
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
            if ((arguments[bit / 64] >> (bit % 64) & 1) != 0 && id < PcLayout.MaxCpus)
            {
                var message = new ApicMessage((uint)id, false, (ApicDelivery)(arguments[3] >> 8 & 7), (byte)arguments[3], Level: false, Wide: true);
                sent += ApicBus.Send(message) ? 1u : 0;
            }
        }

        return sent;
    }

    private static bool IsPvClock(uint index) => index is PvClock.WallClockMsr or PvClock.SystemTimeMsr;

    private bool IsApic(int vcpu, ulong gpa) => _apics[vcpu] is { MmioEnabled: true } apic && (gpa & ApicPageMask) == apic.BaseAddress;
}
