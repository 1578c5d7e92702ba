using Yadokari.Core;
using Yadokari.Core.Buses;
using Yadokari.Core.Disks;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Memory;
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
using Yadokari.Disks;
using Yadokari.Linux;
using Yadokari.Machines.Acpi;
using Yadokari.Machines.Boot;
using Yadokari.Machines.Panics;
using Yadokari.Machines.Vcpus;
using Yadokari.Shares;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Machines;

/// <summary>
/// A PC as small as a stock kernel allows: serial port, clock, timers, interrupt controllers, ACPI. Made, run once to its end, disposed of:
/// before its clock or after. Then every member throws <see cref="ObjectDisposedException"/>.
/// </summary>
public sealed class Pc : IDisposable
{
    private const long NanosecondsHz = 1_000_000_000;
    private const int PciIdeSlot = 1;
    private const int FirstVirtioSlot = 2;

    private readonly PcConfig _config;
    private readonly DisposableStack _parts = new(); // In the order in which they were made.
    private readonly CallGate _calls = new();
    private readonly GuestMemory _memory;
    private readonly FirmwareImage? _firmware;
    private readonly AtaChannel _ide0;
    private readonly AtaChannel _ide1;
    private readonly RealModeBoot? _realMode;
    private readonly Initrd? _initrd;
    private readonly BootModule[] _modules;
    private readonly Bus _pio = new("pio");
    private readonly Bus _mmio = new("mmio");
    private readonly ApicBus _apicBus = new();
    private readonly VcpuHost _host;
    private readonly IVm _vm;
    private readonly VcpuThread[] _threads;
    private readonly DualPic8259 _pic;
    private readonly IoApic _ioApic;
    private readonly PciHost _pci;
    private readonly Dma _dma;
    private readonly IsaDmaController _isaDma;
    private readonly FloppyController? _floppy;
    private readonly List<VirtioPci> _virtio = [];
    private readonly Pit8254 _pit;
    private readonly CmosRtc _rtc;
    private readonly Serial16550 _com1;
    private readonly ConsoleInput _serialInput;
    private readonly ConsolePort? _consolePort;
    private readonly VirtioConsole? _console;
    private readonly VgaText _screen;
    private readonly I8042 _keyboard;
    private readonly KeyboardInput _keys;
    private readonly VirtioBalloon _balloon = new();
    private readonly SystemControlA _controlA;
    private readonly ResetControl _resetControl;
    private readonly AcpiPowerManagement _power;
    private readonly FwCfg _fwCfg = new();
    private readonly PanicWatch _panics;
    private readonly VcpuRun _run;
    private BootReport _boot = new("", null, TimeSpan.Zero);

    /// <summary>Builds the board and loads the kernel: what a user may have got wrong shows here, before any guest runs.</summary>
    /// <param name="config">What it is built of.</param>
    /// <param name="engine">What runs its vCPUs.</param>
    /// <exception cref="Core.UserErrorException">Something in the configuration can't be used.</exception>
    public Pc(PcConfig config, IEngine engine)
    {
        config.Check();
        NamedImages.Check(config.Disks, config.Floppy, config.Cdrom);
        using var unfinished = new DisposableStack();
        unfinished.Push(_parts); // What has been made goes again if anything of the rest can't be.
        KernelImage? kernel = config.Kernel is null ? null : KernelImage.Open(config.Kernel);
        config = config.WithFirmwareFor(kernel);
        _config = config;
        _firmware = config.Firmware is null ? null : FirmwareImage.Open(config.Firmware);
        _initrd = config.Initrd is null ? null : _parts.Push(Initrd.Open(config.Initrd));
        _modules = [.. config.Modules.Select(ModuleText.Parse).Select(m => new BootModule(_parts.Push(Initrd.Open(m.Path, "module")), m.CommandLine))];
        IReadOnlyList<(ulong Gpa, ulong Length)> ram = Layout.RamRegions(config.Memory);
        _memory = _parts.Push(GuestRam.Create(_firmware is null ? ram : [ram[0], (_firmware.Start, (ulong)_firmware.Length), .. ram.Skip(1)]));
        _host = new VcpuHost(_pio, _mmio, _apicBus);
        var cpu = CpuModel.FromHost(new CpuidConfiguration(config.Cpus, (long)engine.ClockFrequency, NanosecondsHz));
        _vm = _parts.Push(engine.Create(new VmSpec(_memory, cpu, config.Cpus)));
        _dma = new Dma(_memory, _vm.MemoryWritten);
        _threads = new VcpuThread[config.Cpus];
        _run = new VcpuRun(_host, _threads, Restart);
        _host.Threads = _threads;
        IClock clock = config.Clock;

        // Processors, each with its local APIC, which only it sees.
        _host.Apics = new Bus[config.Cpus];
        for (int i = 0; i < config.Cpus; i++)
        {
            IX86Vcpu vcpu = _vm.CreateX86Vcpu(i, _host);
            var thread = new VcpuThread(vcpu, _run);
            _parts.Defer(thread.Close);
            LocalApic apic = _parts.Push(new LocalApic(i, _apicBus, clock, vcpu.ReadTsc, _vm.Clock.Frequency, thread.Notify));
            thread.Wire(apic);
            _threads[i] = thread;
            _host.Apics[i] = new Bus($"apic{i}");
            _host.Apics[i].Map(0, Layout.LocalApicSize, "registers", apic);
        }

        _host.PvClock = new PvClock(_dma, clock, _threads[0].Vcpu.ReadTsc, _vm.Clock.Frequency, config.Cpus);
        clock.Resumed += OnHostResumed;
        _parts.Defer(() => clock.Resumed -= OnHostResumed);
        clock.Failed += _run.Fail;
        _parts.Defer(() => clock.Failed -= _run.Fail);

        // Interrupt controllers: the 8259s reach the first processor's LINT0.
        _pic = new DualPic8259(_threads[0].Apic.Lint0);
        _threads[0].Apic.AcknowledgeExternal = _pic.Acknowledge;
        _ioApic = new IoApic(_apicBus, AcpiTables.IoApicId(config.Cpus));
        _pio.Map(Layout.PicPrimary, 2, "pic", _pic.First);
        _pio.Map(Layout.PicSecondary, 2, "pic", _pic.Second);
        _pio.Map(Layout.PicElcr, 2, "pic", _pic.EdgeLevelControl);
        _mmio.Map(Layout.IoApic, Layout.IoApicSize, "ioapic", _ioApic);

        // PCI: each interrupt wire leads to both controllers, of which the guest masks one.
        _pci = new PciHost(_pio, _mmio, Layout.PciWindows(config.Memory), [.. Enumerable.Range(0, PciHost.Wires).Select(PciWire)]);
        _pio.Map(Layout.PciAddress, 1, "pci", _pci.Address);
        _pio.Map(Layout.PciData, 4, "pci", _pci.Data);
        _mmio.Map(Layout.PciEcam, PciHost.EcamSize, "pci", _pci.Ecam);

        // Timers and clock.
        _pit = _parts.Push(new Pit8254(clock, Isa(Layout.PitIrq)));
        _host.Acknowledged = _pit.CatchUp;
        _rtc = _parts.Push(new CmosRtc(clock, Isa(Layout.CmosIrq)));
        _pio.Map(Layout.Pit, 4, "pit", _pit.Counters);
        _pio.Map(Layout.SystemControlB, 1, "pit", _pit.SystemControl);
        _pio.Map(Layout.Cmos, 2, "rtc", _rtc);

        // Console.
        _panics = _parts.Push(new PanicWatch(config.Console, clock, () => _threads.Sum(t => t.Halts), OnPanic));
        _com1 = new Serial16550(Isa(Layout.Com1Irq), _panics);
        _serialInput = _parts.Push(new ConsoleInput(_com1, clock));
        _consolePort = config.VirtioConsole ? new ConsolePort(_panics) : null;
        _console = _consolePort is null ? null : VirtioConsole.Console(_consolePort);
        _pio.Map(Layout.Com1, 8, "com1", _com1);
        _panics.Ready += OnConsoleReady;
        _parts.Defer(() => _panics.Ready -= OnConsoleReady);

        // Screen and keyboard. The registers are there for systems that move the cursor without asking; nobody is told of a screen that nobody sees.
        _screen = new VgaText(_memory);
        _pio.Map(VgaText.FirstMonochromePort, VgaText.MonochromePortCount, "vga", _screen.MonochromePorts);
        _pio.Map(VgaText.FirstPort, VgaText.PortCount, "vga", _screen.Ports);

        // Power and reset.
        _power = _parts.Push(new AcpiPowerManagement(clock, Isa(Layout.SciIrq), () => _run.End(new MachineEnd(EndReason.PowerOff))));
        var a20 = new A20Gate(open => Array.ForEach(_threads, t => t.Vcpu.SetA20(open)));
        _keyboard = new I8042(Isa(Layout.KeyboardIrq), OnReset, a20, config.Screen ? new Ps2Keyboard() : null);
        _keys = new KeyboardInput(_keyboard);
        _controlA = new SystemControlA(OnReset, a20);
        _resetControl = new ResetControl(OnReset);
        _pio.Map(Layout.PowerManagement, AcpiPowerManagement.BlockLength, "acpi", _power);
        _pio.Map(Layout.KeyboardData, 1, "i8042", _keyboard.Data);
        _pio.Map(Layout.KeyboardCommand, 1, "i8042", _keyboard.Command);
        _pio.Map(Layout.SystemControlA, 1, "port92", _controlA);
        _pio.Map(Layout.ResetControl, 1, "reset", _resetControl);
        _pio.Map(Layout.Panic, 1, "pvpanic", new PanicPort(_panics.Report));
        _pio.Map(Layout.FwCfg, 2, "fw_cfg", _fwCfg);

        // DMA for what is on the ISA bus: the floppy.
        _isaDma = new IsaDmaController(_dma);
        _pio.Map(Layout.DmaFirst, IsaDmaController.FirstLength, "dma", _isaDma.First);
        _pio.Map(Layout.DmaSecond, IsaDmaController.SecondLength, "dma", _isaDma.Second);
        _pio.Map(Layout.DmaPages, IsaDmaController.PagesLength, "dma", _isaDma.Pages);
        FloppyMedium? floppy = config.Floppy is null ? null : FloppyMedium.Open(config.Floppy);
        if (floppy is not null)
        {
            _floppy = _parts.Push(new FloppyController(Isa(Layout.FloppyIrq), _isaDma.Channel(Layout.FloppyDma), _run.Fail, floppy.Drive));
            _pio.Map(Layout.Floppy, FloppyController.RegistersLength, "floppy", _floppy.Registers);
            _pio.Map(Layout.FloppyInput, 1, "floppy", _floppy.Input);
        }

        FirmwareTables.Describe(config, floppy, _memory, _fwCfg, _rtc);
        _realMode = kernel is null || _firmware is null ? null : new RealModeBoot(kernel, _memory, ParametersFor(kernel));
        _realMode?.Describe(_fwCfg);

        // Disks. IDE is there for firmware to boot from.
        IDisk[] disks = [.. config.Disks.Select(d => _parts.Push(d.Open()))];
        IDisk? disc = config.Cdrom is null ? null : _parts.Push(RawDisk.Open(config.Cdrom, readOnly: true, AtapiCdrom.Block, "CD image"));
        AtaDisk[] ide = [.. disks.Where((_, i) => config.Disks[i].Bus == DiskBus.Ide).Select(d => new AtaDisk(d))];
        _ide0 = _parts.Push(new AtaChannel(Isa(Layout.Ide0Irq), ide.ElementAtOrDefault(0), ide.ElementAtOrDefault(1)));
        _ide1 = _parts.Push(new AtaChannel(Isa(Layout.Ide1Irq), disc is null ? null : new AtapiCdrom(disc), null));
        if (_firmware is not null)
        {
            if (kernel is null)
            {
                BootMedia.Check(disks, disc, floppy);
            }

            _pio.Map(Layout.Ide0, 8, "ide0", _ide0.Command);
            _pio.Map(Layout.Ide0Control, 1, "ide0", _ide0.Control);
            _pio.Map(Layout.Ide1, 8, "ide1", _ide1.Command);
            _pio.Map(Layout.Ide1Control, 1, "ide1", _ide1.Control);
            _pci.Add(PciIdeSlot, new PciIde());
        }

        for (int i = 0; i < disks.Length; i++)
        {
            if (config.Disks[i].Bus == DiskBus.Virtio)
            {
                AddVirtio(new VirtioBlock(disks[i], i, config.Cpus, $"disk{i}"), config.Disks[i].Packed);
            }
        }

        for (int i = 0; i < config.Networks.Count; i++)
        {
            AddVirtio(new VirtioNet(config.Networks[i].Open(_run.Fail), i, config.Networks[i].Mac), config.Networks[i].Packed);
        }

        for (int i = 0; i < config.Shares.Count; i++)
        {
            (string source, string tag, bool readOnly) = config.Shares[i];
            AddVirtio(new VirtioFs(FolderShare.Open(source, readOnly, OpenFilesOfAShare(config.Shares.Count)), i, config.Cpus, tag));
        }

        if (config.Vsock is { } vsock)
        {
            AddVirtio(new VirtioVsock(vsock.Open(_run.Fail), vsock.Cid));
        }

        if (_console is not null)
        {
            AddVirtio(_console);
        }

        if (config.Ports.Count > 0)
        {
            using var opened = new DisposableStack();
            VirtioConsole ports = VirtioConsole.Ports([.. config.Ports.Select(p => (p.Name, opened.Push(p.Open(_run.Fail))))]);
            opened.Release();
            AddVirtio(ports);
        }

        AddVirtio(new VirtioEntropy());
        AddVirtio(_balloon);

        _pio.Map(Layout.PostCode, 1, "post", new PostCode());
        AddDebugPort(config.DebugPorts.Console, 1, "debug-console", new DebugConsole(config.Console));
        if (config.DebugPorts.InterruptLines is { } lines)
        {
            // Input 2 of the I/O APIC is the timer's; of the 8259s it is the cascade.
            var device = new InterruptLines([.. Enumerable.Range(0, Layout.IoApicInputs).Select(n => n is < 16 and not (0 or 2) ? Isa(n) : _ioApic.Line(n))]);
            AddDebugPort(lines, Layout.IoApicInputs, "test-irq", device);
        }

        if (config.DebugPorts.Memory)
        {
            _mmio.Map(Layout.TestMemory, Layout.TestMemorySize, "test-memory", new TestMemory(Layout.TestMemorySize));
            _pio.Map(Layout.TestLatch, 4, "test-latch", new TestMemory(4));
        }

        AddDebugPort(config.DebugPorts.Exit, 4, "debug-exit", new DebugExit(code => _run.End(new MachineEnd(EndReason.DebugExit) { Code = code })));

        PowerOn(_firmware is null ? kernel : null);
        unfinished.Release();
    }

    /// <summary>Guest RAM.</summary>
    public GuestMemory Memory => Undisposed(_memory);

    /// <summary>
    /// Types into the console. Any thread; waits for nothing. Returns how many bytes there was room for: the guest has yet to read what
    /// went before the others.
    /// </summary>
    public int Type(ReadOnlySpan<byte> bytes)
    {
        using CallGate.Scope call = _calls.Enter(this);
        return _consolePort?.Receive(bytes) ?? _serialInput.Receive(bytes);
    }

    /// <summary>Tells the guest of the size of its console, in characters, if it can know. Any thread.</summary>
    public void ResizeConsole(int rows, int columns)
    {
        using CallGate.Scope call = _calls.Enter(this);
        _console?.Resize(rows, columns);
    }

    /// <summary>Takes memory from the guest and gives it back, as far as the guest's driver goes along.</summary>
    public VirtioBalloon Balloon => Undisposed(_balloon);

    /// <summary>The keyboard, if there is a screen too.</summary>
    public KeyboardInput Keyboard => Undisposed(_keys);

    /// <summary>Looks at the screen. Any thread; as <see cref="VgaText.Look"/>.</summary>
    /// <param name="frame">Gets what is shown.</param>
    /// <returns>False where there is none.</returns>
    public bool Look(TextFrame frame)
    {
        using CallGate.Scope call = _calls.Enter(this);
        if (_config.Screen)
        {
            _screen.Look(frame);
        }

        return _config.Screen;
    }

    /// <summary>The vCPUs, for debuggers: to be touched only while a gate holds them all, or after <see cref="Run"/>.</summary>
    public IReadOnlyList<IX86Vcpu> Vcpus => Undisposed<IX86Vcpu[]>([.. _threads.Select(t => t.Vcpu)]);

    /// <summary>What vCPUs ask of this machine, for debuggers.</summary>
    public IX86VcpuHost Host => Undisposed(_host);

    /// <summary>The buses, with their counters.</summary>
    public IReadOnlyList<Bus> Buses => Undisposed<Bus[]>([_pio, _mmio, .. _host.Apics]);

    /// <summary>How the kernel was loaded.</summary>
    public BootReport Boot => Undisposed(_boot);

    /// <summary>Where a debugger holds vCPUs back; to be set before <see cref="Run"/>.</summary>
    public IVcpuGate? Gate
    {
        get => Undisposed(_host).Gate;
        set => Undisposed(_host).Gate = value;
    }

    /// <summary>What boot, engine, vCPUs and devices did, in the order to show it.</summary>
    public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics
    {
        get
        {
            using CallGate.Scope call = _calls.Enter(this);
            return PcStatistics.Of(_boot, _vm, _threads, Buses);
        }
    }

    /// <summary>
    /// Runs the guest to its end; the calling thread waits. Once only. Throws what a thread of the machine met and nothing expected, and what
    /// <see cref="Fail"/> was given.
    /// </summary>
    public MachineEnd Run()
    {
        using CallGate.Scope call = _calls.Enter(this);
        return _run.ToEnd() with { Panic = _panics.Message };
    }

    /// <summary>Ends the run as if the power were cut. Any thread, also before <see cref="Run"/>; returns at once.</summary>
    public void Stop()
    {
        using CallGate.Scope call = _calls.Enter(this);
        _run.End(new MachineEnd(EndReason.Stopped));
    }

    /// <summary>
    /// Ends the run by an exception, which <see cref="Run"/> throws: for threads beside the machine's own, without which it is of no use. Any
    /// thread, also before <see cref="Run"/>; returns at once. Nothing once disposed of.
    /// </summary>
    public void Fail(Exception error) => _run.Fail(error);

    /// <summary>Presses the power button. Any thread.</summary>
    public void PowerButton()
    {
        using CallGate.Scope call = _calls.Enter(this);
        _power.PressPowerButton();
    }

    /// <summary>Brings a vCPU's thread out of guest code or its sleep, to pass its gate. Any thread.</summary>
    public void Wake(int vcpu)
    {
        using CallGate.Scope call = _calls.Enter(this);
        _threads[vcpu].Wake();
    }

    /// <summary>
    /// Gives everything back, after it has ended the run and waited for calls in flight: those of any member, of alarms, of queues' workers and
    /// of networks' threads. Any thread, but within no call of the machine's, such as that of a console.
    /// </summary>
    public void Dispose()
    {
        if (_calls.TryEnter())
        {
            _run.End(new MachineEnd(EndReason.Stopped));
            _calls.Leave();
        }

        if (_calls.TryClose())
        {
            _parts.Dispose();
        }
    }

    private T Undisposed<T>(T value)
    {
        using CallGate.Scope call = _calls.Enter(this);
        return value;
    }

    private (IInterruptLine Line, byte Irq) PciWire(int wire) =>
        (new TwoLines(_pic.Line(Layout.PciIrqs[wire]), _ioApic.Line(Layout.PciGsi + wire)), Layout.PciIrqs[wire]);

    private IsaLine Isa(int irq) => new IsaLine(_pic, _ioApic, irq);

    private void AddVirtio(VirtioDevice device, bool packed = false)
    {
        VirtioPci function = _parts.Push(new VirtioPci(device, _dma, _apicBus.SendMsi, packed, _run.Fail));
        _pci.Add(FirstVirtioSlot + _virtio.Count, function);
        _virtio.Add(function);
    }

    // Half of what the process may have open is the guest's.
    private static int OpenFilesOfAShare(int shares) => (int)Math.Clamp(FileTree.MostOpenFiles / 2 / shares, 16, 1 << 16);

    private void AddDebugPort(ushort? port, ushort length, string name, IBusDevice device)
    {
        if (port is not { } start)
        {
            return;
        }

        try
        {
            _pio.Map(start, length, name, device);
        }
        catch (ArgumentException)
        {
            throw new UserErrorException($"The port {start:x} of {name} belongs to another device of the machine: give a free one, such as {Layout.DebugExit:x}.");
        }
    }

    // The counter first: the clock in guest memory says what it was when.
    private void OnHostResumed()
    {
        _vm.Clock.CatchUp();
        _host.PvClock?.Resume();
    }

    // The console outlives the machine.
    private void OnConsoleReady()
    {
        if (_calls.TryEnter())
        {
            _com1.ResumeOutput();
            _consolePort?.ResumeOutput();
            _calls.Leave();
        }
    }

    private void OnPanic() => _run.End(new MachineEnd(EndReason.Panic));

    private void OnReset()
    {
        if (_config.RestartOnReset)
        {
            _run.RequestReset();
        }
        else
        {
            _run.End(new MachineEnd(EndReason.Reset));
        }
    }

    // On a vCPU's thread, with all others parked.
    private void Restart()
    {
        _serialInput.Reset();
        _consolePort?.Reset();
        _keys.Reset();
        _screen.Reset();
        _power.Reset();
        _keyboard.Reset();
        _controlA.Reset();
        _resetControl.Reset();
        _ide0.Reset();
        _ide1.Reset();
        _floppy?.Reset();
        _isaDma.Reset();
        _fwCfg.Reset();
        _com1.Reset();
        _rtc.Reset();
        _pit.Reset();
        _host.PvClock?.Reset();
        _pci.Reset();
        _ioApic.Reset();
        _pic.Reset();
        foreach (VcpuThread thread in _threads)
        {
            thread.Apic.Reset();
        }

        _panics.Reset();
        _vm.Clock.Set(0);
        PowerOn(_config.Kernel is null || _firmware is not null ? null : KernelImage.Open(_config.Kernel));

        // Code that was translated before may be overwritten by what was loaded now.
        foreach (MemoryRegion region in _memory.Regions)
        {
            _vm.MemoryWritten(region.Gpa, region.Length);
        }
    }

    private void PowerOn(KernelImage? kernel)
    {
        X86State state = _threads[0].CopyOfReset();
        if (kernel is null)
        {
            _firmware!.CopyTo(_memory);
            FirmwareTables.WriteAcpi(_config, _memory);
            _boot = _realMode?.Load(_memory) ?? new BootReport("firmware", null, TimeSpan.Zero);
        }
        else
        {
            Load(kernel, state);
        }

        for (int i = 0; i < _threads.Length; i++)
        {
            _threads[i].PowerOn(i == 0 ? state : null);
        }
    }

    private void Load(KernelImage kernel, X86State state)
    {
        _pci.Assign();
        ulong rsdp = AcpiTables.Write(_memory, AcpiBoard.Of(_config));
        _memory.Write(Layout.MpTables, MpTables.Build(_config.Cpus, Layout.MpTables));
        _boot = BootLoader.Load(kernel, _memory, ParametersFor(kernel) with { Rsdp = rsdp }, state);
        _threads[0].Apic.EnterVirtualWireMode();
        if (kernel.Format == KernelFormat.Multiboot)
        {
            FirmwareRemains.SetUp(_memory, _pio);
        }
    }

    private BootParameters ParametersFor(KernelImage kernel) =>
        new() { CommandLine = _config.CommandLineFor(kernel), Initrd = _initrd, Modules = _modules, Unpack = _config.Unpack, Screen = _config.Screen };
}
