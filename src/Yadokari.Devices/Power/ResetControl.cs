using Yadokari.Core.Devices;

namespace Yadokari.Devices.Power;

/// <summary>
/// The reset control register, port 0xCF9 (Intel 82371SB data sheet, 2.5.1.4; also the ACPI reset register): a rising edge of bit 2 resets
/// the machine; bit 1 tells a hard reset from a soft one, which are the same here. The port lies within PCI's 0xCF8 to 0xCFB, which takes
/// only 32-bit accesses: a board with both lets byte accesses through to this one.
/// </summary>
/// <param name="reset">Resets the machine. On a vCPU's thread, no lock held.</param>
public sealed class ResetControl(Action reset) : ByteWideDevice(1), IPassiveDevice
{
    /// <summary>What to write for a full reset: the ACPI reset value.</summary>
    public const byte FullReset = 0x06;

    private const byte ResetProcessor = 4;
    private const byte Kept = 0x0A;

    private volatile byte _value;

    /// <inheritdoc/>
    public string Name => "reset-control";

    /// <summary>The state after power-on.</summary>
    public void Reset() => _value = 0;

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => _value;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
        byte before = _value;
        _value = (byte)(value & (Kept | ResetProcessor));
        if ((value & ~before & ResetProcessor) != 0)
        {
            reset();
        }
    }
}
