using Yadokari.Core.Buses;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Rtc;

/// <summary>The MC146818 clock and its battery-backed bytes, at ports 0x70 and 0x71 (two registers).</summary>
public sealed class CmosRtc : ByteWideDevice, IDisposable
{
    /// <summary>Wires the clock.</summary>
    /// <param name="clock">Its oscillator and its battery.</param>
    /// <param name="irq">IRQ 8.</param>
    public CmosRtc(IClock clock, IInterruptLine irq)
        : base(2)
    {
    }

    /// <summary>A byte of battery-backed memory, from 0x0E to 0x7F (0x32, the century, is the clock's). Any thread.</summary>
    public byte this[int index] { get => 0; set { } }

    /// <summary>The state after a system reset: interrupts off; time and memory stay.</summary>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => 0xFF;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
    }
}
