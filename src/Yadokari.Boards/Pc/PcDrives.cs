using Yadokari.Boards.Pc.Boot;
using Yadokari.Core.Disks;
using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Storage;

namespace Yadokari.Boards.Pc;

/// <summary>What a PC boots from without a driver: a floppy by the ISA bus's DMA, disks and a CD on two IDE channels.</summary>
internal sealed class PcDrives
{
    private const int PciIdeSlot = 1;

    private readonly Board _board;
    private readonly PcInterrupts _interrupts;
    private readonly IsaDmaController _dma;
    private readonly List<IDisk> _disks = [];

    /// <summary>Adds the DMA controllers to a board.</summary>
    public PcDrives(Board board, PcInterrupts interrupts)
    {
        (_board, _interrupts) = (board, interrupts);
        _dma = new IsaDmaController(board.Dma);
        board.AddPorts(
            _dma,
            new(PcLayout.DmaFirst, IsaDmaController.FirstLength, _dma.First),
            new(PcLayout.DmaSecond, IsaDmaController.SecondLength, _dma.Second),
            new(PcLayout.DmaPages, IsaDmaController.PagesLength, _dma.Pages));
    }

    /// <summary>The CD; null for none.</summary>
    public IDisk? Cdrom { get; set; }

    /// <summary>The floppy; null for none.</summary>
    public FloppyMedium? Floppy { get; private set; }

    /// <summary>Connects a disk to the first IDE channel.</summary>
    public void AddDisk(IDisk disk) => _disks.Add(disk);

    /// <summary>Adds a floppy controller with a drive that holds a floppy.</summary>
    public void AddFloppy(FloppyMedium floppy, Action<Exception> failed)
    {
        Floppy = floppy;
        var controller = new FloppyController(_interrupts.Isa(PcLayout.FloppyIrq), _dma.Channel(PcLayout.FloppyDma), failed, floppy.Drive);
        _board.AddPorts(controller, new(PcLayout.Floppy, FloppyController.RegistersLength, controller.Registers), new(PcLayout.FloppyInput, 1, controller.Input));
    }

    /// <summary>Adds the IDE channels, once it is known what is connected to them: there for firmware to boot from.</summary>
    public void AddIde(PciHost pci)
    {
        AtaDisk[] disks = [.. _disks.Select(d => new AtaDisk(d))];
        var first = new AtaChannel("ide0", _interrupts.Isa(PcLayout.Ide0Irq), disks.ElementAtOrDefault(0), disks.ElementAtOrDefault(1));
        var second = new AtaChannel("ide1", _interrupts.Isa(PcLayout.Ide1Irq), Cdrom is null ? null : new AtapiCdrom(Cdrom), null);
        _board.AddPorts(first, new(PcLayout.Ide0, 8, first.Command), new(PcLayout.Ide0Control, 1, first.Control));
        _board.AddPorts(second, new(PcLayout.Ide1, 8, second.Command), new(PcLayout.Ide1Control, 1, second.Control));
        pci.Add(PciIdeSlot, _board.Add(new PciIde()));
    }
}
