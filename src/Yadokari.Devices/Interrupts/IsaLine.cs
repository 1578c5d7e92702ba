using Yadokari.Core.Buses;
using Yadokari.Devices.Timers;

namespace Yadokari.Devices.Interrupts;

/// <summary>
/// An interrupt request of the ISA bus, wired to both controllers: input n of the 8259 pair, and global system interrupt n of the I/O APIC
/// except that IRQ 0 is interrupt 2 there (which the MADT has to say, ACPI 6.5, 5.2.12.5). The guest masks the one it does not use.
/// </summary>
public sealed class IsaLine(DualPic8259 pic, IoApic ioApic, int irq) : ITickLine
{
    private readonly IInterruptLine _pic = pic.Line(irq);
    private readonly IInterruptLine _ioApic = ioApic.Line(GlobalSystemInterrupt(irq));

    /// <summary>The I/O APIC input that an ISA interrupt request is wired to.</summary>
    public static int GlobalSystemInterrupt(int irq) => irq == 0 ? 2 : irq;

    /// <inheritdoc/>
    public bool IsUnmasked => pic.IsUnmasked(irq) || ioApic.IsUnmasked(GlobalSystemInterrupt(irq));

    /// <inheritdoc/>
    public bool IsPending => pic.IsPending(irq) || ioApic.IsPending(GlobalSystemInterrupt(irq));

    /// <inheritdoc/>
    public void Set(bool asserted)
    {
        _pic.Set(asserted);
        _ioApic.Set(asserted);
    }
}
