namespace Yadokari.Core.Memory;

/// <summary>
/// Guest memory as a device that is a bus master reads and writes it. What it writes the guest's processors see, as data and as code. For
/// threads that are no vCPU's, with no lock held that a vCPU's access to a device may wait for (<see cref="Engines.IVm.MemoryWritten"/>).
/// </summary>
/// <param name="memory">The guest's RAM.</param>
/// <param name="written">Is told of every range of RAM after it was written.</param>
public sealed class Dma(GuestMemory memory, Action<ulong, ulong> written)
{
    /// <summary>The guest's bytes themselves, to read; after writing them <see cref="Written"/> is to be called. False where they are not RAM of one region.</summary>
    public bool TrySlice(ulong gpa, int length, out Span<byte> bytes) => memory.TrySlice(gpa, length, out bytes);

    /// <summary>The same for the host's calls: where the bytes are. False where they are not RAM of one region.</summary>
    public bool TryLocate(ulong gpa, int length, out HostBuffer bytes)
    {
        bytes = new HostBuffer(memory.HostAddress(gpa, (ulong)length), length);
        return bytes.Address != 0;
    }

    /// <summary>Whether all of a range is RAM of one region.</summary>
    public bool IsRam(ulong gpa, ulong length) => memory.HostAddress(gpa, length) != 0;

    /// <summary>Bytes got by <see cref="TrySlice"/> were written.</summary>
    public void Written(ulong gpa, ulong length) => written(gpa, length);

    /// <summary>The guest has no use for what is in a range: its whole pages go back to the host, if it can take them.</summary>
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
