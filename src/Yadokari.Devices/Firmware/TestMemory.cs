using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Firmware;

/// <summary>A device that keeps what is written, in memory or at ports: for test guests that try how instructions reach one.</summary>
/// <param name="name">Its name.</param>
/// <param name="length">Bytes.</param>
public sealed class TestMemory(string name, int length) : IBusDevice, IPassiveDevice
{
    private readonly byte[] _bytes = new byte[length];

    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public void Reset() => Array.Clear(_bytes);

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data) => At(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        Span<byte> target = At(offset, data.Length);
        data[..target.Length].CopyTo(target);
    }

    // What lies behind the end is not there.
    private Span<byte> At(ulong offset, int count) =>
        offset >= (ulong)length ? [] : _bytes.AsSpan((int)offset, (int)Math.Min((ulong)count, (ulong)length - offset));
}
