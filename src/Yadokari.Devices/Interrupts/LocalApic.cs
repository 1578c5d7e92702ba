using Yadokari.Core.Buses;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Interrupts;

/// <summary>
/// One processor's local APIC (Intel SDM volume 3, chapter 11) in xAPIC and x2APIC mode. As a bus device it is its 4 KiB page of registers,
/// which each processor sees for itself: the machine routes an access to <see cref="BaseAddress"/> to the APIC of the vCPU it came from.
/// </summary>
public sealed class LocalApic : IBusDevice, IDisposable
{
    /// <summary>The timer's input frequency, before its divider.</summary>
    public const long TimerHz = 1_000_000_000;

    /// <summary>Puts a local APIC on the bus.</summary>
    /// <param name="id">The vCPU's number and APIC ID; 0 is the bootstrap processor.</param>
    /// <param name="bus">The bus of the machine.</param>
    /// <param name="clock">The timer's oscillator.</param>
    /// <param name="readTsc">The vCPU's time-stamp counter as the guest sees it. Any thread.</param>
    /// <param name="tscHz">The frequency of that counter.</param>
    /// <param name="notify">Called whenever <see cref="HasInterrupt"/> may have become true. Any thread, no lock held.</param>
    public LocalApic(int id, ApicBus bus, IClock clock, Func<ulong> readTsc, ulong tscHz, Action notify)
    {
        Id = id;
        Lint0 = null!;
        Lint1 = null!;
    }

    /// <summary>The APIC ID.</summary>
    public int Id { get; }

    /// <summary>The processor's LINT0 pin: INT of the 8259 pair.</summary>
    public IInterruptLine Lint0 { get; }

    /// <summary>The processor's LINT1 pin: NMI.</summary>
    public IInterruptLine Lint1 { get; }

    /// <summary>INTA to whoever drives LINT0: gives the vector. Set when the machine is put together.</summary>
    public Func<int>? AcknowledgeExternal { get; set; }

    /// <summary>An NMI arrived. Any thread, no lock held.</summary>
    public event Action? Nmi { add { } remove { } }

    /// <summary>An INIT arrived; the APIC's own state is reset already. Any thread, no lock held.</summary>
    public event Action? Init { add { } remove { } }

    /// <summary>A start-up message arrived: start in real mode at the page, CS = page &lt;&lt; 8. Any thread, no lock held.</summary>
    public event Action<byte>? StartUp { add { } remove { } }

    /// <summary>Whether the processor has an interrupt to take (IF aside). Any thread; a volatile read.</summary>
    public bool HasInterrupt => false;

    /// <summary>CR8: bits 7 to 4 of the task priority register, 0 to 15.</summary>
    public byte TaskPriority { get; set; }

    /// <summary>Where the page of registers is: IA32_APIC_BASE.</summary>
    public ulong BaseAddress => 0xFEE0_0000;

    /// <summary>Whether the page of registers is there: enabled and not in x2APIC mode.</summary>
    public bool MmioEnabled => true;

    /// <summary>Whether IA32_APIC_BASE.EN is set: what CPUID.1:EDX.APIC shows.</summary>
    public bool Enabled => true;

    /// <summary>Takes the interrupt of the highest priority, as INTA does. Returns its vector, or -1 if there is none any more.</summary>
    public int Acknowledge() => -1;

    /// <summary>IA32_APIC_BASE, IA32_TSC_DEADLINE and, in x2APIC mode, 0x800 to 0x83F. False: the guest takes #GP.</summary>
    public bool ReadMsr(uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    /// <summary>IA32_APIC_BASE, IA32_TSC_DEADLINE and, in x2APIC mode, 0x800 to 0x83F. False: the guest takes #GP.</summary>
    public bool WriteMsr(uint index, ulong value) => false;

    /// <summary>The guest's time-stamp counter was set: looks again when the TSC deadline is.</summary>
    public void TscChanged()
    {
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
