using System.Numerics;
using System.Runtime.Intrinsics.X86;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>How FXSAVE and XSAVE save the x87 pointers when no exception is pending, on the host and so in the guest.</summary>
internal enum X87PointerSaving
{
    /// <summary>The pointers are saved: Intel's processors.</summary>
    Always,

    /// <summary>Zeros are saved: AMD's processors with XSAVEERPTR (APM 3, CPUID 8000_0008h EBX bit 2).</summary>
    Zeros,

    /// <summary>Memory is left unchanged: AMD's processors without XSAVEERPTR.</summary>
    Never,
}

/// <summary>Model-specific behaviour of the host's x87, which the guest's has too.</summary>
internal static unsafe class HostX87
{
    // CPUID 7, EBX: FDP_EXCPTN_ONLY, and that FCS and FDS are deprecated.
    private static readonly int s_features = X86Base.CpuId(0, 0).Eax >= 7 ? X86Base.CpuId(7, 0).Ebx : 0;

    // Number of upper bits of a pointer that are copies of the bit below them.
    private static readonly int s_copied = FindCopied();

    /// <summary>How the pointers are saved when no exception is pending.</summary>
    public static X87PointerSaving Saving { get; } = FindSaving();

    /// <summary>Whether FCS and FDS are saved; if not, they are saved as 0.</summary>
    public static bool HasSelectors { get; } = (s_features & (1 << 13)) == 0;

    /// <summary>Whether FDP is updated only by an unmasked exception (FDP_EXCPTN_ONLY).</summary>
    public static bool OperandOnlyWithException { get; } = (s_features & (1 << 6)) != 0;

    /// <summary>The value that the x87 holds after a 64-bit pointer was loaded.</summary>
    public static ulong Held(ulong pointer) => (ulong)((long)(pointer << s_copied) >> s_copied);

    private static X87PointerSaving FindSaving()
    {
        // FNINIT; FLDZ; FXSAVE64 [RDI]; FNINIT; RET.
        ulong pointer = Run([0xDB, 0xE3, 0xD9, 0xEE, 0x48, 0x0F, 0xAE, 0x07, 0xDB, 0xE3, 0xC3], status: 0, ulong.MaxValue);
        return pointer switch { 0 => X87PointerSaving.Zeros, ulong.MaxValue => X87PointerSaving.Never, _ => X87PointerSaving.Always };
    }

    // A processor holds as many bits as its linear addresses have: 48, 57 or all. It is measured, because a hypervisor may change CPUID.
    private static int FindCopied()
    {
        // FXRSTOR64 [RDI]; FXSAVE64 [RDI]; FNINIT; RET, with an exception pending.
        ulong pointer = Run([0x48, 0x0F, 0xAE, 0x0F, 0x48, 0x0F, 0xAE, 0x07, 0xDB, 0xE3, 0xC3], status: 1, (1ul << 47) | (1ul << 56));
        return Math.Max(0, BitOperations.LeadingZeroCount(~pointer) - 1);
    }

    // Runs code on an FXSAVE image with this status and instruction pointer, and returns the instruction pointer of the image afterwards.
    private static ulong Run(ReadOnlySpan<byte> code, ushort status, ulong pointer)
    {
        using var cache = new CodeCache(4096);
        HostAssembler a = default;
        a.Cursor = cache.Next;
        a.Bytes(code);

        // SAFETY: the code reads and writes 512 bytes at an address that is a multiple of 16, and leaves the x87 and MXCSR as the host's
        // code expects them.
        byte* buffer = stackalloc byte[512 + 16];
        byte* area = (byte*)(((nint)buffer + 15) & ~15);
        new Span<byte>(area, 512).Clear();
        *(ushort*)(area + 2) = status;
        *(ulong*)(area + 8) = pointer;
        *(uint*)(area + 24) = 0x1F80;
        ((delegate* unmanaged<byte*, void>)cache.Executable(cache.Next))(area);
        return *(ulong*)(area + 8);
    }
}
