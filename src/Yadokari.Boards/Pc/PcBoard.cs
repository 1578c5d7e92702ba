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
    private const int FirstVirtioSlot = 2;

    private readonly PcConfig _config;
    private readonly IBoardMachine _machine;
    private readonly PcVcpuHost _host;
    private readonly Board _board;
    private readonly PcInterrupts _interrupts;
    private readonly PciHost _pci;
    private readonly PcConsole _console;
    private readonly PcScreen _screen;
    private readonly AcpiPowerManagement _power;
    private readonly PcBoot _boot;
    private readonly PcDrives _drives;
    private readonly List<(string Name, IPortHost Host)> _ports = [];
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

        _interrupts = new PcInterrupts(_board, clock, host, vm, vcpus);
        host.PvClock = _board.Add(new PvClock(_board.Dma, clock, vcpus[0].Vcpu.ReadTsc, vm.Clock.Frequency, config.Cpus));

        _pci = new PciHost(host.Pio, host.Mmio, PcLayout.PciWindows(config.Memory), [.. Enumerable.Range(0, PciHost.Wires).Select(_interrupts.Pci)]);
        _board.AddPorts(_pci, new(PcLayout.PciAddress, 1, _pci.Address), new(PcLayout.PciData, 4, _pci.Data));
        host.Mmio.Map(PcLayout.PciEcam, PciHost.EcamSize, _pci.Name, _pci.Ecam);

        // Timers and clock.
        var pit = new Pit8254(clock, _interrupts.Isa(PcLayout.PitIrq));
        host.Acknowledged = pit.CatchUp;
        _board.AddPorts(pit, new(PcLayout.Pit, 4, pit.Counters), new(PcLayout.SystemControlB, 1, pit.SystemControl));
        CmosRtc rtc = _board.AddPorts(new CmosRtc(clock, _interrupts.Isa(PcLayout.CmosIrq)), PcLayout.Cmos, 2);

        _console = new PcConsole(_board, config, clock, _interrupts.Isa(PcLayout.Com1Irq), machine);

        // Power and reset.
        _power = _board.AddPorts(new AcpiPowerManagement(clock, _interrupts.Isa(PcLayout.SciIrq), machine.PowerOff), PcLayout.PowerManagement, AcpiPowerManagement.BlockLength);
        var a20 = new A20Gate(open =>
        {
            foreach (IBoardVcpu vcpu in vcpus)
            {
                vcpu.Vcpu.SetA20(open);
            }
        });
        _board.AddPorts(new SystemControlA(machine.RequestReset, a20), PcLayout.SystemControlA, 1);
        _board.AddPorts(new ResetControl(machine.RequestReset), PcLayout.ResetControl, 1);

        _screen = new PcScreen(_board, config.Screen, memory, _interrupts.Isa(PcLayout.KeyboardIrq), a20, machine);
        FwCfg fwCfg = _board.AddPorts(new FwCfg(), PcLayout.FwCfg, 2);

        // What was asked for, and what all machines have.
        _drives = new PcDrives(_board, _interrupts);
        int number = 0;
        config.ForEachDevice((device, context) => device.Attach(this, context, resources.Devices[number++]));
        if (resources.Firmware is not null)
        {
            _drives.AddIde(_pci);
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
        AddVirtio(new VirtioBalloon());
        _board.AddPorts(new PostCode(), PcLayout.PostCode, 1);
        IDisk[] disks = [.. config.Devices.Zip(resources.Devices).Where(d => d.First is DiskSpec).Select(d => (IDisk)d.Second!)];
        _boot = new PcBoot(config, resources, new BootMedia(disks, _drives.Cdrom, _drives.Floppy), memory, fwCfg, rtc);
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

    /// <summary>The only device of a class, also one behind a virtio transport; null where there is none.</summary>
    public T? Find<T>()
        where T : class => Devices.OfType<T>().Concat(Devices.OfType<VirtioPci>().Select(v => v.Device).OfType<T>()).SingleOrDefault();

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

    /// <summary>Drives that firmware boots from. While the board is put together.</summary>
    internal PcDrives Drives => _drives;

    /// <summary>The interrupt controllers. While the board is put together.</summary>
    internal PcInterrupts Interrupts => _interrupts;

    /// <summary>Adds a port of a virtio console by name. While the board is put together.</summary>
    internal void AddPort(string name, IPortHost host) => _ports.Add((name, host));

    /// <summary>Presses the power button. Any thread.</summary>
    public void PressPowerButton() => _power.PressPowerButton();

    /// <summary>
    /// Loads what the guest starts with, after power-on or <see cref="DeviceTree.Reset"/>, with all vCPUs parked.
    /// </summary>
    /// <param name="state">The bootstrap processor's state after reset; it is made that of the entry.</param>
    /// <exception cref="UserErrorException">Something does not fit, or can't be read any more.</exception>
    public BootReport Load(X86State state) => _boot.Load(state, _pci, _interrupts.Bootstrap, _host.Pio);

    /// <inheritdoc/>
    public void Dispose() => _board.Dispose();
}
