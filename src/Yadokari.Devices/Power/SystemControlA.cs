using Yadokari.Core.Devices;

namespace Yadokari.Devices.Power;

/// <summary>
/// System control port A, 0x92 (IBM PS/2 hardware interface technical reference): bit 0 resets on its rising edge, bit 1 opens or closes address line 20.
/// </summary>
/// <param name="reset">Resets the machine. On a vCPU's thread, no lock held.</param>
/// <param name="a20">The line.</param>
public sealed class SystemControlA(Action reset, A20Gate a20) : ByteWideDevice(1), IPassiveDevice
{
    private const byte FastReset = 1;
    private const byte AddressLine20 = 2;

    private volatile byte _value;

    /// <inheritdoc/>
    public string Name => "port92";

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
        _value = 0;
        a20.Put(open: true);
    }

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => _value;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
        byte before = _value;
        _value = value;
        a20.Put((value & AddressLine20) != 0);
        if ((value & ~before & FastReset) != 0)
        {
            reset();
        }
    }
}
