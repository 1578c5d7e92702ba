using Yadokari.X86.Engines;

namespace Yadokari.Translation.Tests;

/// <summary>A host that says the same to two vCPUs that ask the same.</summary>
internal sealed class LockstepHost : IX86VcpuHost
{
    private byte _priority;

    /// <summary>The vector of an interrupt that waits, or -1.</summary>
    public int Waiting { get; set; } = -1;

    public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => data.Fill((byte)gpa);

    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
    }

    public void PioRead(int vcpu, ushort port, Span<byte> data) => data.Fill((byte)port);

    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data)
    {
    }

    public bool ReadMsr(int vcpu, uint index, out ulong value)
    {
        value = index;
        return index % 2 == 0;
    }

    public bool WriteMsr(int vcpu, uint index, ulong value) => index % 2 == 0;

    public void TscChanged(int vcpu)
    {
    }

    public byte ReadTaskPriority(int vcpu) => _priority;

    public void WriteTaskPriority(int vcpu, byte value) => _priority = value;

    public bool HasInterrupt(int vcpu) => Waiting >= 0;

    public int AcknowledgeInterrupt(int vcpu)
    {
        int vector = Waiting;
        Waiting = -1;
        return vector;
    }

    public bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result)
    {
        result = number;
        return number % 2 == 0;
    }
}
