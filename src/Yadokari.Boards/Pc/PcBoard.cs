using Yadokari.Boards.Pc.Boot;
using Yadokari.Boards.Pc.Panics;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Disks;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Memory;
using Yadokari.Core.Networks;
using Yadokari.Core.Time;
using Yadokari.Devices.Display;
using Yadokari.Devices.Firmware;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Keyboard;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Power;
using Yadokari.Devices.Rtc;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Storage;
using Yadokari.Devices.Timers;
using Yadokari.Devices.Virtio;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc;

/// <summary>
/// A PC as small as a stock kernel allows: which devices there are, and how they are wired. Addresses and numbers stand in <see cref="PcLayout"/>.
/// </summary>
public sealed class PcBoard : IDisposable
{
    private const int PciIdeSlot = 1;
    private const int FirstVirtioSlot = 2;

    private readonly PcConfig _config;
    private readonly IBoardMachine _machine;
    private readonly PcVcpuHost _host;
    private readonly Board _board;
    private readonly LocalApic[] _localApics;
    private readonly DualPic8259 _pic;
    private readonly IoApic _ioApic;
    private readonly PciHost _pci;
    private readonly PcConsole _console;
    private readonly PcScreen _screen;
    private readonly VirtioBalloon _balloon = new();
    private readonly AcpiPowerManagement _power;
    private readonly PcBoot _boot;
    private readonly IsaDmaController _isaDma;
    private readonly List<IDisk> _ideDisks = [];
    private readonly List<(string Name, IPortHost Host)> _ports = [];
    private IDisk? _cdrom;
    private FloppyMedium? _floppy;
    private int _virtioFunctions;

    /// <summary>Puts the board together. What a user may have got wrong of the firmware and the boot media shows here.</summary>
    /// <param name="config">What it is made of.</param>
    /// <param name="resources">The backends of its devices. Not owned.</param>
    /// <param name="memory">Guest RAM, as <see cref="RamRegions"/> says. Not owned.</param>
    /// <param name="clock">The machine's clock. Not owned.</param>
    /// <param name="host">What the vCPUs ask, to be filled.</param>
    /// <param name="vm">The engine's virtual machine.</param>
    /// <param name="vcpus">Its vCPUs, by number.</param>
    /// <param name="machine">The machine.</param>
    /// <exception cref="UserErrorException">Something in the configuration can't be used.</exception>
    public PcBoard(
        PcConfig config, PcResources resources, GuestMemory memory, IClock clock, PcVcpuHost host, IVm vm, IReadOnlyList<IBoardVcpu> vcpus, IBoardMachine machine)
    {
        (_config, _machine, _host) = (config, machine, host);
        using var unfinished = new DisposableStack();
        _board = unfinished.Push(new Board(new Dma(memory, vm.MemoryWritten), host.Pio, host.Mmio));

        // Processors, each with its local APIC, which only it sees.
        _localApics = [.. vcpus.Select(v => _board.Add(NewLocalApic(v, vm, clock)))];
        host.Wire(vcpus, _localApics);
        host.PvClock = _board.Add(new PvClock(_board.Dma, clock, vcpus[0].Vcpu.ReadTsc, vm.Clock.Frequency, config.Cpus));

        // Interrupt controllers: the 8259s reach the first processor's LINT0.
        _pic = new DualPic8259(_localApics[0].Lint0);
        _localApics[0].AcknowledgeExternal = _pic.Acknowledge;
        _board.AddPorts(_pic, new(PcLayout.PicPrimary, 2, _pic.First), new(PcLayout.PicSecondary, 2, _pic.Second), new(PcLayout.PicElcr, 2, _pic.EdgeLevelControl));
        _ioApic = _board.AddMemory(new IoApic(host.ApicBus, Acpi.AcpiTables.IoApicId(config.Cpus)), PcLayout.IoApic, PcLayout.IoApicSize);

        // PCI: each interrupt wire leads to both controllers, of which the guest masks one.
        _pci = new PciHost(host.Pio, host.Mmio, PcLayout.PciWindows(config.Memory), [.. Enumerable.Range(0, PciHost.Wires).Select(PciWire)]);
        _board.AddPorts(_pci, new(PcLayout.PciAddress, 1, _pci.Address), new(PcLayout.PciData, 4, _pci.Data));
        host.Mmio.Map(PcLayout.PciEcam, PciHost.EcamSize, _pci.Name, _pci.Ecam);

        // Timers and clock.
        var pit = new Pit8254(clock, Isa(PcLayout.PitIrq));
        host.Acknowledged = pit.CatchUp;
        _board.AddPorts(pit, new(PcLayout.Pit, 4, pit.Counters), new(PcLayout.SystemControlB, 1, pit.SystemControl));
        CmosRtc rtc = _board.AddPorts(new CmosRtc(clock, Isa(PcLayout.CmosIrq)), PcLayout.Cmos, 2);

        _console = new PcConsole(_board, config, clock, Isa(PcLayout.Com1Irq), machine);

        // Power and reset.
        _power = _board.AddPorts(new AcpiPowerManagement(clock, Isa(PcLayout.SciIrq), machine.PowerOff), PcLayout.PowerManagement, AcpiPowerManagement.BlockLength);
        var a20 = new A20Gate(open =>
        {
            foreach (IBoardVcpu vcpu in vcpus)
            {
                vcpu.Vcpu.SetA20(open);
            }
        });
        _board.AddPorts(new SystemControlA(machine.RequestReset, a20), PcLayout.SystemControlA, 1);
        _board.AddPorts(new ResetControl(machine.RequestReset), PcLayout.ResetControl, 1);

        _screen = new PcScreen(_board, config.Screen, memory, Isa(PcLayout.KeyboardIrq), a20, machine);
        FwCfg fwCfg = _board.AddPorts(new FwCfg(), PcLayout.FwCfg, 2);

        // What was asked for, and what all machines have.
        _isaDma = AddIsaDma();
        int number = 0;
        config.ForEachDevice((device, context) => device.Attach(this, context, resources.Devices[number++]));
        if (resources.Firmware is not null)
        {
            AddIde();
        }

        if (_console.Virtio is { } console)
        {
            AddVirtio(console);
        }

        if (_ports.Count > 0)
        {
            AddVirtio(VirtioConsole.Ports(_ports));
        }

        AddVirtio(new VirtioEntropy());
        AddVirtio(_balloon);
        _board.AddPorts(new PostCode(), PcLayout.PostCode, 1);
        IDisk[] disks = [.. config.Devices.Zip(resources.Devices).Where(d => d.First is DiskSpec).Select(d => (IDisk)d.Second!)];
        _boot = new PcBoot(config, resources, new BootMedia(disks, _cdrom, _floppy), memory, fwCfg, rtc);
        unfinished.Release();
    }

    /// <summary>The devices, with what resets, pauses and resumes them.</summary>
    public DeviceTree Devices => _board.Devices;

    /// <summary>The buses, with their counters.</summary>
    public IReadOnlyList<Bus> Buses => [_host.Pio, _host.Mmio, .. _host.ApicPages];

    /// <summary>The guest's consoles.</summary>
    public PcConsole Console => _console;

    /// <summary>Screen and keyboard.</summary>
    public PcScreen Screen => _screen;

    /// <summary>Takes memory from the guest and gives it back, as far as the guest's driver goes along.</summary>
    public VirtioBalloon Balloon => _balloon;

    /// <summary>Where RAM lies: that of the guest, and that which holds the firmware's ROM.</summary>
    public static IReadOnlyList<(ulong Gpa, ulong Length)> RamRegions(PcConfig config, PcResources resources)
    {
        IReadOnlyList<(ulong Gpa, ulong Length)> ram = PcLayout.RamRegions(config.Memory);
        return resources.Firmware is not { } firmware ? ram : [ram[0], (firmware.Start, (ulong)firmware.Length), .. ram.Skip(1)];
    }

    /// <summary>What devices are plugged into. While the board is put together.</summary>
    internal Board Wiring => _board;

    /// <summary>The machine.</summary>
    internal IBoardMachine Machine => _machine;

    /// <summary>Where the output of the consoles goes.</summary>
    internal IConsole ConsoleOutput => _config.Console;

    /// <summary>Puts a virtio device on PCI. While the board is put together.</summary>
    internal void AddVirtio(VirtioDevice device, bool packed = false) =>
        _pci.Add(FirstVirtioSlot + _virtioFunctions++, _board.Add(new VirtioPci(device, _board.Dma, _host.ApicBus.SendMsi, packed, _machine.Fail)));

    /// <summary>Connects a disk to the first IDE channel. While the board is put together.</summary>
    internal void AddIdeDisk(IDisk disk) => _ideDisks.Add(disk);

    /// <summary>Puts a CD into the drive on the second IDE channel. While the board is put together.</summary>
    internal void AddCdrom(IDisk disc) => _cdrom = disc;

    /// <summary>Adds a floppy controller with a drive that holds a floppy. While the board is put together.</summary>
    internal void AddFloppy(FloppyMedium floppy)
    {
        _floppy = floppy;
        var controller = new FloppyController(Isa(PcLayout.FloppyIrq), _isaDma.Channel(PcLayout.FloppyDma), _machine.Fail, floppy.Drive);
        _board.AddPorts(controller, new(PcLayout.Floppy, FloppyController.RegistersLength, controller.Registers), new(PcLayout.FloppyInput, 1, controller.Input));
    }

    /// <summary>Adds a port of a virtio console by name. While the board is put together.</summary>
    internal void AddPort(string name, IPortHost host) => _ports.Add((name, host));

    /// <summary>An interrupt line for test guests: input 2 of the I/O APIC is the timer's; of the 8259s it is the cascade.</summary>
    internal IInterruptLine TestLine(int number) => number is < 16 and not (0 or 2) ? Isa(number) : _ioApic.Line(number);

    /// <summary>Presses the power button. Any thread.</summary>
    public void PressPowerButton() => _power.PressPowerButton();

    /// <summary>
    /// Loads what the guest starts with, after power-on or <see cref="DeviceTree.Reset"/>, with all vCPUs parked.
    /// </summary>
    /// <param name="state">The bootstrap processor's state after reset; it is made that of the entry.</param>
    /// <param name="kernel">The kernel; null to read it again.</param>
    /// <exception cref="UserErrorException">Something does not fit, or can't be read any more.</exception>
    public BootReport Load(X86State state, KernelImage? kernel = null) => _boot.Load(state, kernel, _pci, _localApics[0], _host.Pio);

    /// <inheritdoc/>
    public void Dispose() => _board.Dispose();

    private LocalApic NewLocalApic(IBoardVcpu vcpu, IVm vm, IClock clock)
    {
        var apic = new LocalApic(vcpu.Vcpu.Id, _host.ApicBus, clock, vcpu.Vcpu.ReadTsc, vm.Clock.Frequency, vcpu.Notify);
        apic.Init += vcpu.Init;
        apic.StartUp += vcpu.StartUp;
        apic.Nmi += vcpu.Nmi;
        return apic;
    }

    private (IInterruptLine Line, byte Irq) PciWire(int wire) =>
        (new TwoLines(_pic.Line(PcLayout.PciIrqs[wire]), _ioApic.Line(PcLayout.PciGsi + wire)), PcLayout.PciIrqs[wire]);

    private IsaLine Isa(int irq) => new(_pic, _ioApic, irq);

    private IsaDmaController AddIsaDma()
    {
        var dma = new IsaDmaController(_board.Dma);
        return _board.AddPorts(
            dma,
            new(PcLayout.DmaFirst, IsaDmaController.FirstLength, dma.First),
            new(PcLayout.DmaSecond, IsaDmaController.SecondLength, dma.Second),
            new(PcLayout.DmaPages, IsaDmaController.PagesLength, dma.Pages));
    }

    // There for firmware to boot from.
    private void AddIde()
    {
        AtaDisk[] disks = [.. _ideDisks.Select(d => new AtaDisk(d))];
        AtapiCdrom? disc = _cdrom is null ? null : new AtapiCdrom(_cdrom);
        var first = new AtaChannel("ide0", Isa(PcLayout.Ide0Irq), disks.ElementAtOrDefault(0), disks.ElementAtOrDefault(1));
        var second = new AtaChannel("ide1", Isa(PcLayout.Ide1Irq), disc, null);
        _board.AddPorts(first, new(PcLayout.Ide0, 8, first.Command), new(PcLayout.Ide0Control, 1, first.Control));
        _board.AddPorts(second, new(PcLayout.Ide1, 8, second.Command), new(PcLayout.Ide1Control, 1, second.Control));
        _pci.Add(PciIdeSlot, _board.Add(new PciIde()));
    }
}
