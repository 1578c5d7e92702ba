using System.Runtime.CompilerServices;

namespace Yadokari.Core.Memory;

/// <summary>A contiguous region of guest RAM: its guest physical address and its host address.</summary>
/// <param name="Gpa">First guest physical address; a multiple of 4096.</param>
/// <param name="Length">Bytes; a multiple of 4096.</param>
/// <param name="Host">Host address of the first byte.</param>
public readonly record struct MemoryRegion(ulong Gpa, ulong Length, nint Host)
{
    /// <summary>The first guest physical address past this region.</summary>
    public ulong End => Gpa + Length;
}

/// <summary>
/// All RAM of one guest. Its layout never changes while the guest lives, so that every member may be called from any thread;
/// ordering against a running guest is that of the processor. Once it is disposed of, nothing is RAM any more.
/// </summary>
public sealed unsafe class GuestMemory : IDisposable
{
    private MemoryRegion[] _regions;
    private IDisposable? _backing;

    /// <summary>Creates it from regions of an existing host mapping. Owns <paramref name="backing"/>.</summary>
    public GuestMemory(IReadOnlyList<MemoryRegion> regions, IDisposable? backing)
    {
        _regions = [.. regions.OrderBy(r => r.Gpa)];
        _backing = backing;
        DirtyPages = new DirtyPages(End);
    }

    /// <summary>The regions in ascending order of guest physical address.</summary>
    public ReadOnlySpan<MemoryRegion> Regions => _regions;

    /// <summary>First guest physical address past all RAM.</summary>
    public ulong End => _regions.Select(r => r.End).DefaultIfEmpty().Max();

    /// <summary>The host mapping that it was created with, for callers that know its type.</summary>
    public IDisposable? Backing => _backing;

    /// <summary>The dirty bitmap: of writes by this object's members, of those reported by <see cref="Written"/>, and of vCPUs' writes as far as the engine reports them.</summary>
    public DirtyPages DirtyPages { get; }

    /// <summary>Bytes of RAM in all regions.</summary>
    public ulong Size
    {
        get
        {
            ulong size = 0;
            foreach (MemoryRegion region in _regions)
            {
                size += region.Length;
            }

            return size;
        }
    }

    /// <summary>The host address of a guest physical address, or 0 where the whole range is not RAM of one region.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public nint HostAddress(ulong gpa, ulong length = 1)
    {
        foreach (ref readonly MemoryRegion region in _regions.AsSpan())
        {
            ulong offset = gpa - region.Gpa;
            if (offset < region.Length && length <= region.Length - offset)
            {
                return region.Host + (nint)offset;
            }
        }

        return 0;
    }

    /// <summary>To be called after bytes of <see cref="TrySlice"/> or <see cref="HostAddress"/> were written.</summary>
    public void Written(ulong gpa, ulong length) => DirtyPages.Note(gpa, length);

    /// <summary>
    /// A span over the guest's bytes; call <see cref="Written"/> after writing to it. False where the range is not wholly RAM of one
    /// region.
    /// </summary>
    public bool TrySlice(ulong gpa, int length, out Span<byte> bytes)
    {
        nint host = HostAddress(gpa, (ulong)length);

        // SAFETY: HostAddress checked the range against a region that lives as long as this object.
        bytes = host == 0 ? default : new Span<byte>((void*)host, length);
        return host != 0;
    }

    /// <summary>Reads one aligned word at once, as the processor reads a page-table entry. False where it is not RAM or not aligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryReadUInt64(ulong gpa, out ulong value)
    {
        nint host = (gpa & 7) == 0 ? HostAddress(gpa, sizeof(ulong)) : 0;

        // SAFETY: HostAddress checked the eight bytes against a region that lives as long as this object.
        value = host == 0 ? 0 : Volatile.Read(ref *(ulong*)host);
        return host != 0;
    }

    /// <summary>Reads one aligned double word at once. False where it is not RAM or not aligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryReadUInt32(ulong gpa, out uint value)
    {
        nint host = (gpa & 3) == 0 ? HostAddress(gpa, sizeof(uint)) : 0;

        // SAFETY: HostAddress checked the four bytes against a region that lives as long as this object.
        value = host == 0 ? 0 : Volatile.Read(ref *(uint*)host);
        return host != 0;
    }

    /// <summary>
    /// Replaces an aligned word by <paramref name="value"/> if it still is <paramref name="expected"/>, as a locked instruction of the
    /// guest would. False if it had changed, is not RAM or is not aligned.
    /// </summary>
    public bool CompareExchangeUInt64(ulong gpa, ulong expected, ulong value)
    {
        nint host = (gpa & 7) == 0 ? HostAddress(gpa, sizeof(ulong)) : 0;

        // SAFETY: HostAddress checked the eight bytes against a region that lives as long as this object.
        if (host == 0 || Interlocked.CompareExchange(ref *(ulong*)host, value, expected) != expected)
        {
            return false;
        }

        DirtyPages.Note(gpa);
        return true;
    }

    /// <summary>The same for an aligned double word.</summary>
    public bool CompareExchangeUInt32(ulong gpa, uint expected, uint value)
    {
        nint host = (gpa & 3) == 0 ? HostAddress(gpa, sizeof(uint)) : 0;

        // SAFETY: HostAddress checked the four bytes against a region that lives as long as this object.
        if (host == 0 || Interlocked.CompareExchange(ref *(uint*)host, value, expected) != expected)
        {
            return false;
        }

        DirtyPages.Note(gpa);
        return true;
    }

    /// <summary>Copies guest memory out; pieces that are not RAM read as all ones. Returns false if there were any.</summary>
    public bool Read(ulong gpa, Span<byte> data)
    {
        bool whole = true;
        while (!data.IsEmpty)
        {
            int piece = (int)Math.Min((ulong)data.Length, 4096 - (gpa & 4095));
            if (TrySlice(gpa, piece, out Span<byte> source))
            {
                source.CopyTo(data);
            }
            else
            {
                data[..piece].Fill(0xFF);
                whole = false;
            }

            data = data[piece..];
            gpa += (ulong)piece;
        }

        return whole;
    }

    /// <summary>Copies into guest memory; writes to addresses that are not RAM are ignored. Returns false if there were any.</summary>
    public bool Write(ulong gpa, ReadOnlySpan<byte> data)
    {
        bool whole = true;
        while (!data.IsEmpty)
        {
            int piece = (int)Math.Min((ulong)data.Length, 4096 - (gpa & 4095));
            if (TrySlice(gpa, piece, out Span<byte> target))
            {
                data[..piece].CopyTo(target);
                Written(gpa, (ulong)piece);
            }
            else
            {
                whole = false;
            }

            data = data[piece..];
            gpa += (ulong)piece;
        }

        return whole;
    }

    /// <summary>
    /// Discards the host's memory of the whole pages of a range: they read as zeroes until they are written again. False where it is not RAM of one
    /// region, or the host does not support it.
    /// </summary>
    public bool TryDiscard(ulong gpa, int length)
    {
        ulong start = (gpa + 4095) & ~4095ul;
        ulong end = (gpa + (ulong)length) & ~4095ul;
        if (start >= end || HostAddress(start, end - start) is not (not 0 and nint host) || _backing is not IMemoryBacking backing
            || !backing.TryDiscard(host, (long)(end - start)))
        {
            return false;
        }

        Written(start, end - start);
        return true;
    }

    /// <summary>Unmaps the host memory. No vCPU and no device may access it any more.</summary>
    public void Dispose()
    {
        _regions = [];
        _backing?.Dispose();
        _backing = null;
    }
}
