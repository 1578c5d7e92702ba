using Yadokari.Boards.Pc.Acpi;
using Yadokari.Core.Buses;
using Yadokari.Core.Engines;
using Yadokari.Core.Time;
using Yadokari.Devices.Interrupts;

namespace Yadokari.Boards.Pc;

/// <summary>A PC's interrupt controllers: a local APIC for each vCPU, an I/O APIC, and two 8259s, which reach the first vCPU's LINT0.</summary>
internal sealed class PcInterrupts
{
    private readonly LocalApic[] _localApics;
    private readonly DualPic8259 _pic;
    private readonly IoApic _ioApic;

    /// <summary>Adds them to a board, and wires the vCPUs.</summary>
    public PcInterrupts(Board board, IClock clock, PcVcpuHost host, IVm vm, IReadOnlyList<IBoardVcpu> vcpus)
    {
        _localApics = [.. vcpus.Select(v => board.Add(NewLocalApic(v, host, vm, clock)))];
        host.Wire(vcpus, _localApics);
        _pic = new DualPic8259(Bootstrap.Lint0);
        Bootstrap.AcknowledgeExternal = _pic.Acknowledge;
        board.AddPorts(_pic, new(PcLayout.PicPrimary, 2, _pic.First), new(PcLayout.PicSecondary, 2, _pic.Second), new(PcLayout.PicElcr, 2, _pic.EdgeLevelControl));
        _ioApic = board.AddMemory(new IoApic(host.ApicBus, AcpiTables.IoApicId(vcpus.Count)), PcLayout.IoApic, PcLayout.IoApicSize);
    }

    /// <summary>The bootstrap processor's local APIC.</summary>
    public LocalApic Bootstrap => _localApics[0];

    /// <summary>An interrupt line of the ISA bus: it leads to both controllers, of which the guest masks one.</summary>
    public IsaLine Isa(int irq) => new(_pic, _ioApic, irq);

    /// <summary>An interrupt wire of PCI, which leads to both too, and the number by which the 8259s know it.</summary>
    public (IInterruptLine Line, byte Irq) Pci(int wire) =>
        (new TwoLines(_pic.Line(PcLayout.PciIrqs[wire]), _ioApic.Line(PcLayout.PciGsi + wire)), PcLayout.PciIrqs[wire]);

    /// <summary>A line for test guests, by its input of the I/O APIC: 2 is the timer's there, and the cascade's of the 8259s.</summary>
    public IInterruptLine Test(int input) => input is < 16 and not (0 or 2) ? Isa(input) : _ioApic.Line(input);

    private static LocalApic NewLocalApic(IBoardVcpu vcpu, PcVcpuHost host, IVm vm, IClock clock)
    {
        var apic = new LocalApic(vcpu.Vcpu.Id, host.ApicBus, clock, vcpu.Vcpu.ReadTsc, vm.Clock.Frequency, vcpu.Notify);
        apic.Init += vcpu.Init;
        apic.StartUp += vcpu.StartUp;
        apic.Nmi += vcpu.Nmi;
        return apic;
    }
}
