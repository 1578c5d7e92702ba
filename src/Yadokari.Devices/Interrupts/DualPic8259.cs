using Yadokari.Core.Buses;

namespace Yadokari.Devices.Interrupts;

/// <summary>Two cascaded Intel 8259A interrupt controllers, as on a PC/AT.</summary>
public sealed class DualPic8259
{
    /// <summary>Wires the pair.</summary>
    /// <param name="output">INT of the first controller: LINT0 of the local APIC.</param>
    public DualPic8259(IInterruptLine output)
    {
        First = new BytePorts(2, static _ => 0, static (_, _) => { });
        Second = new BytePorts(2, static _ => 0, static (_, _) => { });
        EdgeLevelControl = new BytePorts(2, static _ => 0, static (_, _) => { });
    }

    /// <summary>Ports 0x20 and 0x21.</summary>
    public IBusDevice First { get; }

    /// <summary>Ports 0xA0 and 0xA1.</summary>
    public IBusDevice Second { get; }

    /// <summary>Ports 0x4D0 and 0x4D1: which requests are level triggered.</summary>
    public IBusDevice EdgeLevelControl { get; }

    /// <summary>Whether INT is raised. Any thread, no lock.</summary>
    public bool HasInterrupt => false;

    /// <summary>The input of IRQ 0 to 15 (2 is the cascade and goes nowhere).</summary>
    public IInterruptLine Line(int irq) => throw new NotImplementedException();

    /// <summary>Both INTA cycles. Returns the vector: a spurious one (IRQ 7 or 15) where the request went away.</summary>
    public int Acknowledge() => -1;

    /// <summary>The state after power-on: everything masked until initialised.</summary>
    public void Reset()
    {
    }
}
