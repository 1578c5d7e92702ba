namespace Yadokari.Devices.Pci;

/// <summary>What a function says it is (PCI Local Bus 3.0, 6.2.1 and 6.2.4).</summary>
/// <param name="Vendor">Vendor ID.</param>
/// <param name="Device">Device ID.</param>
/// <param name="ClassCode">Base class, subclass and programming interface, 24 bits.</param>
/// <param name="Revision">Revision ID.</param>
/// <param name="SubsystemVendor">Subsystem vendor ID.</param>
/// <param name="Subsystem">Subsystem ID.</param>
public readonly record struct PciIdentity(ushort Vendor, ushort Device, uint ClassCode, byte Revision = 0, ushort SubsystemVendor = 0, ushort Subsystem = 0)
{
    /// <summary>A host bridge that belongs to no chip set: Red Hat's ID for generic ones.</summary>
    public static PciIdentity HostBridge => new(0x1B36, 0x0008, 0x06_00_00);
}
