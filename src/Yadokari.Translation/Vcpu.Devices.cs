namespace Yadokari.Translation;

/// <summary>
/// Accesses to devices. These may wait, such as for a console that nobody reads or a disk of the host's: meanwhile this vCPU counts as outside of
/// guest code, so that neither another vCPU nor a device waits for it. What was derived from guest memory before such a call may be stale after it.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    internal void ReadPort(ushort port, Span<byte> data)
    {
        using var outside = new Outside(this);
        _host.PioRead(Id, port, data);
    }

    internal void WritePort(ushort port, ReadOnlySpan<byte> data)
    {
        using var outside = new Outside(this);
        _host.PioWrite(Id, port, data);
    }

    internal void ReadDevice(ulong gpa, Span<byte> data)
    {
        using var outside = new Outside(this);
        _host.MmioRead(Id, gpa, data);
    }

    internal void WriteDevice(ulong gpa, ReadOnlySpan<byte> data)
    {
        using var outside = new Outside(this);
        _host.MmioWrite(Id, gpa, data);
    }

    /// <summary>While it lives, the vCPU counts as outside of guest code.</summary>
    private readonly ref struct Outside
    {
        private readonly Vcpu _vcpu;

        public Outside(Vcpu vcpu)
        {
            _vcpu = vcpu;
            vcpu.Requests.Leave();
        }

        public void Dispose() => _vcpu.ComeInside();
    }
}
