using Yadokari.Core.Devices;

namespace Yadokari.Devices.Power;

/// <summary>Port 0x80: firmware shows its progress there, and Linux writes to it to pass the time of one bus cycle.</summary>
public sealed class PostCode() : ByteWideDevice(1), IPassiveDevice
{
    private volatile byte _last;

    /// <inheritdoc/>
    public string Name => "post";

    /// <summary>The last code written.</summary>
    public byte Last => _last;

    /// <inheritdoc/>
    public void Reset() => _last = 0;

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => _last;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value) => _last = value;
}
