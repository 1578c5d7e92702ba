using Yadokari.Core.Engines;
using Yadokari.X86.Engines;

namespace Yadokari.Translation.Tests;

/// <summary>A machine of whims: reads give anything, and now and then there is an interrupt.</summary>
internal sealed class WildHost(int seed) : IX86VcpuHost
{
    private readonly Random _random = new(seed);
    private byte _priority;

    /// <summary>Called when a vCPU writes a port, on its thread.</summary>
    public Action<ushort>? PortWritten { get; init; }

    public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => _random.NextBytes(data);

    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
    }

    public void PioRead(int vcpu, ushort port, Span<byte> data) => _random.NextBytes(data);

    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data) => PortWritten?.Invoke(port);

    public bool ReadMsr(int vcpu, uint index, out ulong value)
    {
        value = (ulong)_random.NextInt64();
        return _random.Next(2) == 0;
    }

    public bool WriteMsr(int vcpu, uint index, ulong value) => _random.Next(2) == 0;

    public void TscChanged(int vcpu)
    {
    }

    public byte ReadTaskPriority(int vcpu) => _priority;

    public void WriteTaskPriority(int vcpu, byte value) => _priority = value;

    public bool HasInterrupt(int vcpu) => _random.Next(16) == 0;

    public int AcknowledgeInterrupt(int vcpu) => _random.Next(-1, 256);

    public bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result)
    {
        result = number;
        return _random.Next(2) == 0;
    }
}
