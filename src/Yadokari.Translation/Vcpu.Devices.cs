namespace Yadokari.Translation;

/// <summary>
/// Accesses to devices. An access may block (on a console that is not read, on a disk of the host): meanwhile the vCPU counts as outside guest
/// code, so that no other vCPU or device waits for it. Anything derived from guest memory before the access may be stale after it.
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

    /// <summary>The vCPU counts as outside guest code until this is disposed.</summary>
    private readonly ref struct Outside
    {
        private readonly Vcpu _vcpu;

        public Outside(Vcpu vcpu)
        {
            _vcpu = vcpu;
            vcpu.Requests.Leave();
        }

        public void Dispose() => _vcpu.EnterGuestCode();
    }
}
