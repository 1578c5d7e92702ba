namespace Yadokari.Core.Memory;

/// <summary>A piece of guest RAM, or of pinned memory of the monitor, as the host sees it; laid out as iovec of sys/uio.h. Good as long as that memory is.</summary>
/// <param name="Address">Host address of its first byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct HostBuffer(nint Address, nint Length)
{
    /// <summary>The bytes.</summary>
    // SAFETY: made of ranges that GuestMemory checked, which stay mapped as long as it lives, of bytes that are pinned, or of a part of such.
    public unsafe Span<byte> Bytes => new((void*)Address, (int)Length);
}
