using Yadokari.Core.Buses;

namespace Yadokari.Devices.Interrupts;

/// <summary>An 82093AA-like I/O APIC with 24 inputs, version 0x20; as a bus device, its page at 0xFEC00000.</summary>
public sealed class IoApic : IBusDevice
{
    /// <summary>How many inputs there are.</summary>
    public const int Pins = 24;

    /// <summary>Puts an I/O APIC on the bus.</summary>
    /// <param name="bus">The bus of the machine.</param>
    /// <param name="id">Its APIC ID, as in the MADT.</param>
    public IoApic(ApicBus bus, byte id)
    {
    }

    /// <summary>The input of a global system interrupt, 0 to 23.</summary>
    public IInterruptLine Line(int gsi) => throw new NotImplementedException();

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>The state after power-on: everything masked.</summary>
    public void Reset()
    {
    }
}
