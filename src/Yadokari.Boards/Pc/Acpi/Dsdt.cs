using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Pci;
using Yadokari.Devices.Power;
using Yadokari.Devices.Storage;
using static Yadokari.Boards.Pc.Acpi.Aml;

namespace Yadokari.Boards.Pc.Acpi;

/// <summary>The board's devices that a guest can't enumerate, in ACPI Machine Language.</summary>
internal static class Dsdt
{
    /// <summary>The whole table.</summary>
    public static byte[] Build(AcpiBoard board) =>
        new AcpiTable("DSDT", 2, [.. SoftOff(), .. InterruptModel(), .. Devices(board)]).Finish();

    private static byte[] SoftOff() =>
        Name("\\_S5", Package(Integer(AcpiPowerManagement.SoftOff), Integer(AcpiPowerManagement.SoftOff), Integer(0), Integer(0)));

    // ACPI 6.5, 5.8.1: the guest says whether it uses the 8259s (0) or the I/O APIC.
    private static byte[] InterruptModel() =>
        [.. Name("\\PICF", Integer(0)), .. Method("\\_PIC", 1, StoreArgument("PICF"))];

    private static byte[] Devices(AcpiBoard board) => Scope("\\_SB",
    [
        HostBridge(board.Pci),
        Device("MRES",
            Name("_HID", EisaId("PNP0C02")),
            Name("_UID", Integer(0)),
            Name("_CRS", Resources(FixedMemory((uint)PcLayout.PciEcam, (uint)PciHost.EcamSize)))),
        Device("PIC",
            Name("_HID", EisaId("PNP0000")),
            Name("_CRS", Resources(Io(PcLayout.PicPrimary, 2), Io(PcLayout.PicSecondary, 2), Io(PcLayout.PicElcr, 2), Irq(2)))),
        Device("DMAC",
            Name("_HID", EisaId("PNP0200")),
            Name("_CRS", Resources(
                Io(PcLayout.DmaFirst, IsaDmaController.FirstLength),
                Io(PcLayout.DmaPages, IsaDmaController.PagesLength),
                Io(PcLayout.DmaSecond, IsaDmaController.SecondLength),
                CascadeDma(4)))),
        Device("TMR",
            Name("_HID", EisaId("PNP0100")),
            Name("_CRS", Resources(Io(PcLayout.Pit, 4), Irq(PcLayout.PitIrq)))),
        Device("RTC",
            Name("_HID", EisaId("PNP0B00")),
            Name("_CRS", Resources(Io(PcLayout.Cmos, 2), Irq(PcLayout.CmosIrq)))),
        Device("COM1",
            Name("_HID", EisaId("PNP0501")),
            Name("_UID", Integer(1)),
            Name("_CRS", Resources(Io(PcLayout.Com1, 8), Irq(PcLayout.Com1Irq)))),
        .. board.Screen ? [Keyboard()] : Array.Empty<byte[]>(),
        .. board.Floppy ? [Floppy()] : Array.Empty<byte[]>(),
        Device("PEVT",
            Name("_HID", Text("QEMU0001")),
            Name("_STA", Integer(0x0B)),
            Name("_CRS", Resources(Io(PcLayout.Panic, 1)))),
        .. Enumerable.Range(0, board.Cpus).Select(Processor),
    ]);

    private static byte[] HostBridge(PciWindows windows) => Device("PCI0",
        Name("_HID", EisaId("PNP0A08")),
        Name("_CID", EisaId("PNP0A03")),
        Name("_UID", Integer(0)),
        Name("_SEG", Integer(0)),
        Name("_BBN", Integer(0)),
        Name("_CRS", Resources(
            BusNumbers(0, 0),
            Io(PcLayout.PciAddress, 8),
            Ports((ushort)windows.Ports.Start, (ushort)windows.Ports.Length),
            Memory32((uint)windows.Memory.Start, (uint)windows.Memory.Length),
            Memory64(windows.HighMemory.Start, windows.HighMemory.Length))),
        Method("_OSC", 4, ReturnLastArgument()), // Grants the guest control of every feature that it requests (ACPI 6.5, 6.2.11).
        Name("PRTP", Routes(wire => PcLayout.PciIrqs[wire])),
        Name("PRTA", Routes(wire => PcLayout.PciGsi + wire)),
        Method("_PRT", 0, If(Reference("PICF"), Return(Reference("PRTA"))), Return(Reference("PRTP"))));

    // ACPI 6.2.13: all functions of a slot, pin, no link device, interrupt.
    private static byte[] Routes(Func<int, int> interrupt) => Package(
        [.. from slot in Enumerable.Range(1, PciHost.Slots - 1)
            from pin in Enumerable.Range(0, PciHost.Wires)
            select Package(Integer((uint)(slot << 16) | 0xFFFF), Integer((uint)pin), Integer(0), Integer((uint)interrupt(PciHost.WireOf(slot + pin))))]);

    private static byte[] Keyboard() => Device("KBD",
        Name("_HID", EisaId("PNP0303")),
        Name("_CRS", Resources(Io(PcLayout.KeyboardData, 1), Io(PcLayout.KeyboardCommand, 1), Irq(PcLayout.KeyboardIrq))));

    private static byte[] Floppy() => Device("FDC0",
        Name("_HID", EisaId("PNP0700")),
        Name("_CRS", Resources(
            Io(PcLayout.Floppy, FloppyController.RegistersLength), Io(PcLayout.FloppyInput, 1), Irq(PcLayout.FloppyIrq), Dma(PcLayout.FloppyDma))));

    private static byte[] Processor(int id) => Device($"C{id:D3}",
        Name("_HID", Text("ACPI0007")),
        Name("_UID", Integer((uint)id)));
}
