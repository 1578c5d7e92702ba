using Yadokari.Core.Buses;

namespace Yadokari.Devices.Serial;

/// <summary>A 16550A UART (National Semiconductor PC16550D data sheet, June 1995) at eight ports.</summary>
public sealed class Serial16550 : ByteWideDevice
{
    /// <summary>Wires the UART.</summary>
    public Serial16550(IInterruptLine irq, IConsole console)
        : base(8)
    {
    }

    /// <summary>The guest made room in the receive FIFO after <see cref="Receive"/> could not place everything. On a vCPU's thread, no lock held.</summary>
    public event Action? Drained { add { } remove { } }

    /// <summary>Puts bytes into the receive FIFO. Any thread.</summary>
    /// <returns>How many fitted; offer the rest again after <see cref="Drained"/>.</returns>
    public int Receive(ReadOnlySpan<byte> bytes) => bytes.Length;

    /// <summary>The state after the master reset pin.</summary>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    protected override byte ReadRegister(int offset) => 0xFF;

    /// <inheritdoc/>
    protected override void WriteRegister(int offset, byte value)
    {
    }
}
