using Yadokari.Core.Engines;
using Yadokari.X86.Engines;

namespace Yadokari;

/// <summary>The vCPU's host in a <see cref="FlatMachine"/>: no devices, only I/O ports that the caller handles.</summary>
internal sealed class FlatHost : IX86VcpuHost
{
    public Func<ushort, int, uint>? OnRead { get; set; }

    public Action<PortWrite>? OnWrite { get; set; }

    /// <summary>Ends the run after the instruction.</summary>
    public Action? Stop { get; set; }

    /// <summary>The writes of this run that no handler of the caller took.</summary>
    public List<PortWrite> Writes { get; } = [];

    public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => data.Fill(0xFF);

    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
    }

    public void PioRead(int vcpu, ushort port, Span<byte> data)
    {
        uint value = OnRead?.Invoke(port, data.Length) ?? uint.MaxValue;
        for (int i = 0; i < data.Length; i++)
        {
            data[i] = (byte)(value >> (8 * i));
        }
    }

    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data)
    {
        uint value = 0;
        for (int i = 0; i < data.Length; i++)
        {
            value |= (uint)data[i] << (8 * i);
        }

        var write = new PortWrite(port, value, data.Length);
        if (OnWrite is { } taker)
        {
            taker(write);
            return;
        }

        Writes.Add(write);
        Stop?.Invoke();
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
