namespace Yadokari.Translation;

/// <summary>
/// Accesses to devices. These may wait, such as for a console that nobody reads or a disk of the host's: meanwhile this vCPU counts as outside of
/// guest code, so that neither another vCPU nor a device waits for it. What was derived from guest memory before such a call may be stale after it.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    internal void ReadPort(ushort port, Span<byte> data)
    {
        GoOutside();
        try
        {
            _host.PioRead(Id, port, data);
        }
        finally
        {
            ComeInside();
        }
    }

    internal void WritePort(ushort port, ReadOnlySpan<byte> data)
    {
        GoOutside();
        try
        {
            _host.PioWrite(Id, port, data);
        }
        finally
        {
            ComeInside();
        }
    }

    private void ReadDevice(ulong gpa, Span<byte> data)
    {
        GoOutside();
        try
        {
            _host.MmioRead(Id, gpa, data);
        }
        finally
        {
            ComeInside();
        }
    }

    private void WriteDevice(ulong gpa, ReadOnlySpan<byte> data)
    {
        GoOutside();
        try
        {
            _host.MmioWrite(Id, gpa, data);
        }
        finally
        {
            ComeInside();
        }
    }
}
