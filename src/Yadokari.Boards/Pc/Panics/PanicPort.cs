using Yadokari.Core.Devices;
using Yadokari.Devices;

namespace Yadokari.Boards.Pc.Panics;

/// <summary>The pvpanic device (QEMU, docs/specs/pvpanic.rst): a port by which a kernel that has the driver tells that it panicked.</summary>
/// <param name="panicked">On a vCPU's thread, no lock held.</param>
internal sealed class PanicPort(Action panicked) : ByteWideDevice(1), IPassiveDevice
{
    private const byte PanickedBit = 1;

    /// <inheritdoc/>
    public string Name => "pvpanic";

    /// <inheritdoc/>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => PanickedBit;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
        if ((value & PanickedBit) != 0)
        {
            panicked();
        }
    }
}
