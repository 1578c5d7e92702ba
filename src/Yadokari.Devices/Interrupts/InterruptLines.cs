using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Interrupts;

/// <summary>Ports for test guests: writing to the n-th sets the level of the n-th line, to high unless the value is 0.</summary>
/// <param name="lines">What the ports are wired to.</param>
public sealed class InterruptLines(IReadOnlyList<IInterruptLine> lines) : IBusDevice, IPassiveDevice
{
    /// <inheritdoc/>
    public string Name => "test-irq";

    /// <summary>All levels are low.</summary>
    public void Reset()
    {
        foreach (IInterruptLine line in lines)
        {
            line.Set(false);
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset < (ulong)lines.Count)
        {
            lines[(int)offset].Set(data.ContainsAnyExcept((byte)0));
        }
    }
}
