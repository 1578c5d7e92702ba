namespace Yadokari.Devices;

/// <summary>One of several ranges of byte registers that a single device answers at, such as the two halves of a pair of 8259s.</summary>
/// <param name="length">How many registers.</param>
/// <param name="read">Reads the register at an offset below the length.</param>
/// <param name="write">Writes the register at an offset below the length.</param>
internal sealed class BytePorts(int length, Func<int, byte> read, Action<int, byte> write) : ByteWideDevice(length)
{
    protected override byte ReadRegister(int offset) => read(offset);

    protected override void WriteRegister(int offset, byte value) => write(offset, value);
}
