using Yadokari.Devices.Power;
using static Yadokari.Machines.Acpi.Aml;

namespace Yadokari.Machines.Acpi;

/// <summary>The board's devices that a guest can't find by looking, in ACPI Machine Language.</summary>
internal static class Dsdt
{
    /// <summary>The whole table.</summary>
    public static byte[] Build(int cpus, bool screen) => new AcpiTable("DSDT", 2, [.. SoftOff(), .. Devices(cpus, screen)]).Finish();

    private static byte[] SoftOff() =>
        Name("\\_S5", Package(Integer(AcpiPowerManagement.SoftOff), Integer(AcpiPowerManagement.SoftOff), Integer(0), Integer(0)));

    private static byte[] Devices(int cpus, bool screen) => Scope("\\_SB",
    [
        Device("PIC",
            Name("_HID", EisaId("PNP0000")),
            Name("_CRS", Resources(Io(Layout.PicPrimary, 2), Io(Layout.PicSecondary, 2), Io(Layout.PicElcr, 2), Irq(2)))),
        Device("TMR",
            Name("_HID", EisaId("PNP0100")),
            Name("_CRS", Resources(Io(Layout.Pit, 4), Irq(Layout.PitIrq)))),
        Device("RTC",
            Name("_HID", EisaId("PNP0B00")),
            Name("_CRS", Resources(Io(Layout.Cmos, 2), Irq(Layout.CmosIrq)))),
        Device("COM1",
            Name("_HID", EisaId("PNP0501")),
            Name("_UID", Integer(1)),
            Name("_CRS", Resources(Io(Layout.Com1, 8), Irq(Layout.Com1Irq)))),
        .. screen ? [Keyboard()] : Array.Empty<byte[]>(),
        Device("PEVT",
            Name("_HID", Text("QEMU0001")),
            Name("_STA", Integer(0x0B)),
            Name("_CRS", Resources(Io(Layout.Panic, 1)))),
        .. Enumerable.Range(0, cpus).Select(Processor),
    ]);

    private static byte[] Keyboard() => Device("KBD",
        Name("_HID", EisaId("PNP0303")),
        Name("_CRS", Resources(Io(Layout.KeyboardData, 1), Io(Layout.KeyboardCommand, 1), Irq(Layout.KeyboardIrq))));

    private static byte[] Processor(int id) => Device($"C{id:D3}",
        Name("_HID", Text("ACPI0007")),
        Name("_UID", Integer((uint)id)));
}
