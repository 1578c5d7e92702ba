using Yadokari.Core.Engines;
using Yadokari.X86.Engines;

namespace Yadokari.Conformance.Tests.Engine;

/// <summary>No devices: reads give all ones, writes vanish, no interrupts.</summary>
internal sealed class SilentHost : IX86VcpuHost
{
    public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => data.Fill(0xFF);

    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
    }

    public void PioRead(int vcpu, ushort port, Span<byte> data) => data.Fill(0xFF);

    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data)
    {
    }

    public bool ReadMsr(int vcpu, uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    public bool WriteMsr(int vcpu, uint index, ulong value) => false;

    public void TscChanged(int vcpu)
    {
    }

    public byte ReadTaskPriority(int vcpu) => 0;

    public void WriteTaskPriority(int vcpu, byte value)
    {
    }

    public bool HasInterrupt(int vcpu) => false;

    public int AcknowledgeInterrupt(int vcpu) => -1;

    public bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result)
    {
        result = 0;
        return false;
    }
}
