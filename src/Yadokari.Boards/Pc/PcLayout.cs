using Yadokari.Devices.Pci;

namespace Yadokari.Boards.Pc;

/// <summary>Every address, port and interrupt number of the PC board, a line each.</summary>
public static class PcLayout
{
    // Physical addresses below 1 MiB, where the monitor leaves what it hands to the guest's kernel.

    /// <summary>The descriptor table the kernel is entered with.</summary>
    public const ulong BootGdt = 0x500;

    /// <summary>PVH: hvm_start_info.</summary>
    public const ulong PvhStartInfo = 0x6000;

    /// <summary>PVH: the module list, one entry (the initrd).</summary>
    public const ulong PvhModules = 0x6100;

    /// <summary>PVH: the memory map.</summary>
    public const ulong PvhMemoryMap = 0x6200;

    /// <summary>Multiboot: the boot information, of either version.</summary>
    public const ulong MultibootInformation = 0x1_0000;

    /// <summary>Bytes kept for the boot information.</summary>
    public const ulong MultibootInformationSize = 0x1_0000;

    /// <summary>Linux boot protocol: boot_params, the "zero page".</summary>
    public const ulong ZeroPage = 0x7000;

    /// <summary>Identity page tables: one PML4, one PDPT, four page directories.</summary>
    public const ulong BootPageTables = 0x9000;

    /// <summary>A small stack for entry code that wants one before it makes its own.</summary>
    public const ulong BootStack = 0x1_0000;

    /// <summary>The kernel command line, zero terminated.</summary>
    public const ulong CommandLine = 0x2_0000;

    /// <summary>Bytes kept for the command line.</summary>
    public const ulong CommandLineSize = 0x1_0000;

    /// <summary>End of conventional memory: where a BIOS puts its extended data area.</summary>
    public const ulong ConventionalEnd = 0x9_FC00;

    /// <summary>ACPI tables; the RSDP comes first, where a scan of the BIOS area finds it (ACPI 6.5, 5.2.5.1).</summary>
    public const ulong AcpiTables = 0xE_0000;

    /// <summary>End of the ACPI tables.</summary>
    public const ulong AcpiTablesEnd = MpTables;

    /// <summary>MultiProcessor tables; the floating pointer comes first, where a scan of the BIOS area finds it (MultiProcessor Specification 1.4, chapter 4).</summary>
    public const ulong MpTables = 0xF_F000;

    /// <summary>Real-mode interrupt handlers that do nothing, at the end of the BIOS area.</summary>
    public const ulong BiosHandlers = 0xF_FE00;

    /// <summary>First byte of extended memory.</summary>
    public const ulong ExtendedMemory = 0x10_0000;

    // Physical addresses of devices: the hole between 3 and 4 GiB.

    /// <summary>RAM below 4 GiB ends here at the latest.</summary>
    public const ulong LowRamLimit = 0xC000_0000;

    /// <summary>PCI configuration space of bus 0.</summary>
    public const ulong PciEcam = 0xC000_0000;

    /// <summary>Where PCI functions' memory below 4 GiB begins; it ends at the I/O APIC.</summary>
    public const ulong PciMemory = 0xD000_0000;

    /// <summary>PCI functions' memory above 4 GiB: so many bytes, at the first multiple of them above RAM.</summary>
    public const ulong PciHighMemorySize = 64UL << 30;

    /// <summary>I/O APIC.</summary>
    public const ulong IoApic = 0xFEC0_0000;

    /// <summary>Bytes of the I/O APIC's page.</summary>
    public const ulong IoApicSize = 0x1000;

    /// <summary>Local APIC, each vCPU's own.</summary>
    public const ulong LocalApic = 0xFEE0_0000;

    /// <summary>Bytes of the local APIC's page.</summary>
    public const ulong LocalApicSize = 0x1000;

    /// <summary>Where memory for test guests is that is a device.</summary>
    public const ulong TestMemory = 0xFF00_0000;

    /// <summary>Bytes of it.</summary>
    public const int TestMemorySize = 64 << 10;

    /// <summary>RAM that does not fit below the hole goes on here.</summary>
    public const ulong HighRam = 0x1_0000_0000;

    // Ports.

    /// <summary>Primary 8259.</summary>
    public const ushort PicPrimary = 0x20;

    /// <summary>Secondary 8259.</summary>
    public const ushort PicSecondary = 0xA0;

    /// <summary>8259 edge/level control registers.</summary>
    public const ushort PicElcr = 0x4D0;

    /// <summary>8254 timer, four ports.</summary>
    public const ushort Pit = 0x40;

    /// <summary>i8042 data port.</summary>
    public const ushort KeyboardData = 0x60;

    /// <summary>System control port B: speaker and the gate of timer channel 2.</summary>
    public const ushort SystemControlB = 0x61;

    /// <summary>i8042 command and status port.</summary>
    public const ushort KeyboardCommand = 0x64;

    /// <summary>CMOS clock: index and data.</summary>
    public const ushort Cmos = 0x70;

    /// <summary>POST code port, which kernels also write for a short delay.</summary>
    public const ushort PostCode = 0x80;

    /// <summary>System control port A: fast A20 gate and fast reset.</summary>
    public const ushort SystemControlA = 0x92;

    /// <summary>First serial port, eight ports.</summary>
    public const ushort Com1 = 0x3F8;

    /// <summary>Firmware configuration: selector and data.</summary>
    public const ushort FwCfg = 0x510;

    /// <summary>pvpanic.</summary>
    public const ushort Panic = 0x505;

    /// <summary>Where <see cref="Devices.Power.DebugConsole"/> is by custom.</summary>
    public const ushort DebugConsole = 0xE9;

    /// <summary>Four ports beside the test memory that keep what is written.</summary>
    public const ushort TestLatch = 0xE0;

    /// <summary>Where <see cref="Devices.Interrupts.InterruptLines"/> are by custom.</summary>
    public const ushort TestInterruptLines = 0x2000;

    /// <summary>Where <see cref="Devices.Power.DebugExit"/> is by custom.</summary>
    public const ushort DebugExit = 0xF4;

    /// <summary>ACPI fixed hardware: PM1a event and control, PM timer, general purpose events (offsets are the device's).</summary>
    public const ushort PowerManagement = 0x600;

    /// <summary>Reset control register, which is also the FADT's reset register.</summary>
    public const ushort ResetControl = 0xCF9;

    /// <summary>PCI configuration: address, and four ports of data behind it.</summary>
    public const ushort PciAddress = 0xCF8;

    /// <summary>PCI configuration data.</summary>
    public const ushort PciData = 0xCFC;

    /// <summary>Where PCI functions' ports begin; they end with the ports.</summary>
    public const ushort PciPorts = 0xC000;

    // Interrupts: ISA numbers, which are also I/O APIC inputs except where a line says so.

    /// <summary>8254 channel 0.</summary>
    public const int PitIrq = 0;

    /// <summary>Keyboard.</summary>
    public const int KeyboardIrq = 1;

    /// <summary>The I/O APIC input that the 8254 is wired to.</summary>
    public const int PitGsi = 2;

    /// <summary>First serial port.</summary>
    public const int Com1Irq = 4;

    /// <summary>CMOS clock.</summary>
    public const int CmosIrq = 8;

    /// <summary>ACPI's interrupt: level, active high.</summary>
    public const int SciIrq = 9;

    /// <summary>The I/O APIC input of PCI's first interrupt wire; the others follow.</summary>
    public const int PciGsi = 16;

    /// <summary>The 8259s' inputs of PCI's interrupt wires.</summary>
    public static ReadOnlySpan<byte> PciIrqs => [10, 11, 5, 7];

    /// <summary>Inputs of the I/O APIC.</summary>
    public const int IoApicInputs = 24;

    /// <summary>The most vCPUs of a board.</summary>
    public const int MaxCpus = 32;

    /// <summary>The most disks of a board.</summary>
    public const int MaxDisks = 16;

    /// <summary>The most shared folders of a board.</summary>
    public const int MaxShares = 6;

    /// <summary>The most network cards of a board.</summary>
    public const int MaxNetworks = 3;

    /// <summary>First DMA controller.</summary>
    public const ushort DmaFirst = 0x00;

    /// <summary>Second DMA controller.</summary>
    public const ushort DmaSecond = 0xC0;

    /// <summary>DMA page registers.</summary>
    public const ushort DmaPages = 0x81;

    /// <summary>Floppy controller.</summary>
    public const ushort Floppy = 0x3F0;

    /// <summary>The floppy controller's digital input and configuration control.</summary>
    public const ushort FloppyInput = 0x3F7;

    /// <summary>Floppy controller.</summary>
    public const int FloppyIrq = 6;

    /// <summary>DMA channel of the floppy controller.</summary>
    public const int FloppyDma = 2;

    /// <summary>First IDE channel: eight ports, and its control port.</summary>
    public const ushort Ide0 = 0x1F0;

    /// <summary>Control port of the first IDE channel.</summary>
    public const ushort Ide0Control = 0x3F6;

    /// <summary>Second IDE channel.</summary>
    public const ushort Ide1 = 0x170;

    /// <summary>Control port of the second IDE channel.</summary>
    public const ushort Ide1Control = 0x376;

    /// <summary>First IDE channel.</summary>
    public const int Ide0Irq = 14;

    /// <summary>Second IDE channel.</summary>
    public const int Ide1Irq = 15;

    /// <summary>Where RAM of the given size lies: up to 3 GiB at 0, the rest from 4 GiB.</summary>
    /// <param name="bytes">A multiple of 4096.</param>
    public static IReadOnlyList<(ulong Gpa, ulong Length)> RamRegions(ulong bytes) => bytes <= LowRamLimit
        ? [(0, bytes)]
        : [(0, LowRamLimit), (HighRam, bytes - LowRamLimit)];

    /// <summary>Where PCI functions may be in a machine of so much RAM.</summary>
    public static PciWindows PciWindows(ulong memory)
    {
        ulong end = RamRegions(memory)[^1].Gpa + RamRegions(memory)[^1].Length;
        ulong high = ((end + PciHighMemorySize - 1) / PciHighMemorySize) * PciHighMemorySize;
        return new((PciPorts, 0x1_0000 - PciPorts), (PciMemory, IoApic - PciMemory), (high, PciHighMemorySize));
    }
}
