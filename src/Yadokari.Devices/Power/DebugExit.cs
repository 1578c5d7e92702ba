using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Power;

/// <summary>
/// A port for test guests, by custom 0xF4 and 4 bytes long: whatever is written ends the machine with that value as its exit code.
/// </summary>
/// <param name="exit">Receives the value written. On a vCPU's thread, no lock held.</param>
public sealed class DebugExit(Action<uint> exit) : IBusDevice, IPassiveDevice
{
    /// <inheritdoc/>
    public string Name => "debug-exit";

    /// <inheritdoc/>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0)
        {
            return;
        }

        Span<byte> value = stackalloc byte[4];
        value.Clear();
        data[..Math.Min(data.Length, 4)].CopyTo(value);
        exit(BinaryPrimitives.ReadUInt32LittleEndian(value));
    }
}
