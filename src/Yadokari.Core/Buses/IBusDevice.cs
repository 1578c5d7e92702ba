namespace Yadokari.Core.Buses;

/// <summary>
/// The registers of a device on an address bus. Called on a vCPU's thread, with no bus lock held; a device guards its own state.
/// Every offset within the mapped range and every width from 1 to 8 must be handled: guest misbehaviour is data, never an exception.
/// </summary>
public interface IBusDevice
{
    /// <summary>Reads from the device. Bytes that it does not decode are left as given (all ones).</summary>
    /// <param name="offset">From the start of the mapped range.</param>
    /// <param name="data">Little endian; filled with all ones by the caller.</param>
    void Read(ulong offset, Span<byte> data);

    /// <summary>Writes to the device.</summary>
    /// <param name="offset">From the start of the mapped range.</param>
    /// <param name="data">Little endian.</param>
    void Write(ulong offset, ReadOnlySpan<byte> data);
}

/// <summary>An interrupt pin, or a wire to one. May be called from any thread.</summary>
public interface IInterruptLine
{
    /// <summary>Sets the level of the line.</summary>
    void Set(bool asserted);
}
