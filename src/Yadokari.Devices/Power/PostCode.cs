namespace Yadokari.Devices.Power;

/// <summary>Port 0x80: firmware shows its progress there, and Linux writes to it to pass the time of one bus cycle.</summary>
public sealed class PostCode() : ByteWideDevice(1)
{
    private volatile byte _last;

    /// <summary>The last code written.</summary>
    public byte Last => _last;

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => _last;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value) => _last = value;
}
