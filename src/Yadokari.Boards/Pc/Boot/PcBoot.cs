using Yadokari.Boards.Pc.Acpi;
using Yadokari.Core;
using Yadokari.Core.Buses;
using Yadokari.Core.Memory;
using Yadokari.Devices.Firmware;
using Yadokari.Devices.Interrupts;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Rtc;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>Starts a PC: in firmware, which gets tables, boot media or a kernel; or in a kernel, in the state that firmware would have set up.</summary>
internal sealed class PcBoot
{
    private readonly PcConfig _config;
    private readonly PcResources _resources;
    private readonly GuestMemory _memory;
    private readonly RealModeBoot? _realMode;

    /// <summary>Describes the machine to the firmware, if there is one.</summary>
    /// <exception cref="UserErrorException">No medium is bootable, or firmware can't start the kernel.</exception>
    public PcBoot(PcConfig config, PcResources resources, BootMedia media, GuestMemory memory, FwCfg fwCfg, CmosRtc rtc)
    {
        (_config, _resources, _memory) = (config, resources, memory);
        FirmwareTables.Describe(config, resources, media, memory, fwCfg, rtc);
        if (resources.Firmware is null)
        {
            return;
        }

        if (resources.KernelImage is { } kernel)
        {
            _realMode = new RealModeBoot(kernel, memory, ParametersFor(kernel));
            _realMode.Describe(fwCfg);
        }
        else
        {
            media.Check();
        }
    }

    /// <summary>As <see cref="PcBoard.Load"/>.</summary>
    public BootReport Load(X86State state, PciHost pci, LocalApic bootstrap, Bus pio)
    {
        if (_resources.Firmware is { } firmware)
        {
            firmware.CopyTo(_memory);
            FirmwareTables.WriteAcpi(_config, _memory);
            return _realMode?.Load(_memory) ?? new BootReport("firmware", null, TimeSpan.Zero);
        }

        KernelImage kernel = _resources.TakeKernelImage();
        pci.Assign();
        ulong rsdp = AcpiTables.Write(_memory, AcpiBoard.Of(_config));
        _memory.Write(PcLayout.MpTables, MpTables.Build(_config.Cpus, PcLayout.MpTables));
        BootReport report = BootLoader.Load(kernel, _memory, ParametersFor(kernel) with { Rsdp = rsdp }, state);
        bootstrap.EnterVirtualWireMode();
        if (kernel.Format == KernelFormat.Multiboot)
        {
            FirmwareRemains.SetUp(_memory, pio);
        }

        return report;
    }

    private BootParameters ParametersFor(KernelImage kernel) => new()
    {
        CommandLine = _config.CommandLineFor(kernel),
        Initrd = _resources.Initrd,
        Modules = _resources.Modules,
        Unpack = _config.Unpack,
        Screen = _config.Screen,
    };
}
