using Yadokari.Devices.Pci;

namespace Yadokari.Devices.Storage;

/// <summary>
/// What makes the two IDE channels at their old ports known on PCI: a PIIX3's IDE function in compatibility mode without bus mastering (Intel
/// 82371SB data sheet, 2.4). Firmware and kernels that find PCI look nowhere else.
/// </summary>
public sealed class PciIde : PciFunction
{
    private const int FirstTiming = 0x40;

    /// <inheritdoc/>
    public override string Name => "pci-ide";

    /// <summary>Makes it; the channels themselves are mapped by the board.</summary>
    public PciIde()
        : base(new PciIdentity(0x8086, 0x7010, 0x01_01_00)) => Poke(FirstTiming, [0, 0x80, 0, 0x80]); // Both channels decode.
}
