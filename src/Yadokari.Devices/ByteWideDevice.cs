using Yadokari.Core.Buses;

namespace Yadokari.Devices;

/// <summary>
/// A device of byte registers, as everything on the ISA bus is: a wider access becomes byte accesses to consecutive offsets, lowest
/// first, as the bus controller of a PC splits them. Bytes beyond the last register read as all ones and ignore writes.
/// </summary>
public abstract class ByteWideDevice : IBusDevice
{
    /// <summary>Makes a device of so many byte registers.</summary>
    protected ByteWideDevice(int length) => Length = length;

    /// <summary>How many byte registers there are, from offset 0.</summary>
    public int Length { get; }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        for (int i = 0; i < data.Length && offset < (ulong)Length; i++, offset++)
        {
            data[i] = ReadRegister((int)offset);
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        for (int i = 0; i < data.Length && offset < (ulong)Length; i++, offset++)
        {
            WriteRegister((int)offset, data[i]);
        }
    }

    /// <summary>Reads the register at an offset from 0 to <see cref="Length"/> - 1.</summary>
    protected abstract byte ReadRegister(int offset);

    /// <summary>Writes the register at an offset from 0 to <see cref="Length"/> - 1.</summary>
    protected abstract void WriteRegister(int offset, byte value);
}
