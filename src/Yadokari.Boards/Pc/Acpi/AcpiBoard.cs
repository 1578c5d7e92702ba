using Yadokari.Boards.Specs;
using Yadokari.Devices.Pci;

namespace Yadokari.Boards.Pc.Acpi;

/// <summary>What the tables have to say of a board beyond what all boards have.</summary>
/// <param name="Cpus">From 1 to <see cref="PcLayout.MaxCpus"/>; APIC IDs are 0 and up.</param>
/// <param name="Screen">Whether there is a screen and a keyboard.</param>
/// <param name="Pci">Where PCI functions may be.</param>
/// <param name="Floppy">Whether there is a floppy controller.</param>
public readonly record struct AcpiBoard(int Cpus, bool Screen, PciWindows Pci, bool Floppy = false)
{
    /// <summary>The board that a configuration asks for.</summary>
    public static AcpiBoard Of(PcConfig config) => new(config.Cpus, config.Screen, PcLayout.PciWindows(config.Memory), config.Devices.Any(d => d is FloppySpec));
}
