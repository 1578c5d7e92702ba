using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>The bits of MXCSR that the host's processor supports. The guest has the same, because LDMXCSR is copied.</summary>
internal static unsafe class HostMxcsr
{
    /// <summary>MXCSR_MASK (SDM 1 11.6.6): 0xFFFF, or 0x2FFFF with misaligned SSE mode.</summary>
    public static uint Mask { get; } = Find();

    private static uint Find()
    {
        using var cache = new CodeCache(4096);
        HostAssembler a = default;
        a.Cursor = cache.Next;

        // SAFETY: FXSAVE [RDI]; RET writes 512 bytes at an address that is a multiple of 16, and nothing else.
        a.Bytes([0x0F, 0xAE, 0x07, 0xC3]);
        byte* buffer = stackalloc byte[512 + 16];
        byte* area = (byte*)(((nint)buffer + 15) & ~15);
        ((delegate* unmanaged<byte*, void>)cache.Executable(cache.Next))(area);
        uint mask = *(uint*)(area + 28);
        return mask == 0 ? 0xFFBF : mask;
    }
}
