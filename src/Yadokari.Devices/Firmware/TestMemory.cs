using Yadokari.Core.Buses;

namespace Yadokari.Devices.Firmware;

/// <summary>A device that keeps what is written, in memory or at ports: for test guests that try how instructions reach one.</summary>
/// <param name="length">Bytes.</param>
public sealed class TestMemory(int length) : IBusDevice
{
    private readonly byte[] _bytes = new byte[length];

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data) => _bytes.AsSpan((int)offset, Math.Min(data.Length, length - (int)offset)).CopyTo(data);

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data) => data[..Math.Min(data.Length, length - (int)offset)].CopyTo(_bytes.AsSpan((int)offset));
}
