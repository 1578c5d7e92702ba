namespace Yadokari.Core.Memory;

/// <summary>A piece of guest RAM as the host sees it; laid out as iovec of sys/uio.h. Good as long as the guest's memory is.</summary>
/// <param name="Address">Host address of its first byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct HostBuffer(nint Address, nint Length)
{
    /// <summary>The bytes.</summary>
    // SAFETY: made by GuestMemory alone, of ranges that it checked; they stay mapped as long as it lives.
    public unsafe Span<byte> Bytes => new((void*)Address, (int)Length);
}
