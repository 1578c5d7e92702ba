namespace Yadokari.Core.Memory;

/// <summary>
/// DMA: access to guest memory for devices that are bus masters. Writes are visible to the guest's processors as data and as code. For threads
/// that are no vCPU's, with no lock held that a vCPU's access to a device may wait for (<see cref="Engines.IVm.MemoryWritten"/>).
/// </summary>
/// <param name="memory">The guest's RAM.</param>
/// <param name="written">Called for every range of RAM after it was written.</param>
public sealed class Dma(GuestMemory memory, Action<ulong, ulong> written)
{
    /// <summary>A span over the guest's bytes; call <see cref="Written"/> after writing to it. False where they are not RAM of one region.</summary>
    public bool TrySlice(ulong gpa, int length, out Span<byte> bytes) => memory.TrySlice(gpa, length, out bytes);

    /// <summary>The same as a host address, for system calls. False where the bytes are not RAM of one region.</summary>
    public bool TryLocate(ulong gpa, int length, out HostBuffer bytes)
    {
        bytes = new HostBuffer(memory.HostAddress(gpa, (ulong)length), length);
        return bytes.Address != 0;
    }

    /// <summary>Whether all of a range is RAM of one region.</summary>
    public bool IsRam(ulong gpa, ulong length) => memory.HostAddress(gpa, length) != 0;

    /// <summary>To be called after bytes of <see cref="TrySlice"/> or <see cref="TryLocate"/> were written.</summary>
    public void Written(ulong gpa, ulong length) => written(gpa, length);

    /// <summary>The guest does not need the content of a range: discards the host's memory of its whole pages, if the host supports that.</summary>
    public void Discard(ulong gpa, int length)
    {
        if (memory.TryDiscard(gpa, length))
        {
            written(gpa, (ulong)length);
        }
    }

    /// <summary>Reads. False where it is not RAM of one region; nothing is read then.</summary>
    public bool TryRead(ulong gpa, Span<byte> data)
    {
        if (!memory.TrySlice(gpa, data.Length, out Span<byte> bytes))
        {
            return false;
        }

        bytes.CopyTo(data);
        return true;
    }

    /// <summary>Writes. False where it is not RAM of one region; nothing is written then.</summary>
    public bool TryWrite(ulong gpa, ReadOnlySpan<byte> data)
    {
        if (!memory.TrySlice(gpa, data.Length, out Span<byte> bytes))
        {
            return false;
        }

        data.CopyTo(bytes);
        written(gpa, (ulong)data.Length);
        return true;
    }
}
