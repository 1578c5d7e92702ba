namespace Yadokari.Devices.Power;

/// <summary>
/// System control port A, 0x92 (IBM PS/2 hardware interface technical reference): bit 0 resets on its rising edge, bit 1 is address line 20,
/// which is always enabled here and only remembers what was written.
/// </summary>
/// <param name="reset">Resets the machine. On a vCPU's thread, no lock held.</param>
public sealed class SystemControlA(Action reset) : ByteWideDevice(1)
{
    private const byte FastReset = 1;
    private const byte AddressLine20 = 2;

    private volatile byte _value = AddressLine20;

    /// <summary>The state after power-on.</summary>
    public void Reset() => _value = AddressLine20;

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => _value;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
        byte before = _value;
        _value = value;
        if ((value & ~before & FastReset) != 0)
        {
            reset();
        }
    }
}
