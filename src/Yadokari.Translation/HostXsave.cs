using System.Runtime.Intrinsics.X86;

namespace Yadokari.Translation;

/// <summary>The extended state that the host's processor and this engine support (SDM 1 13), and the length of its area.</summary>
internal static class HostXsave
{
    /// <summary>State components: x87, SSE, AVX, AVX-512.</summary>
    public static readonly ulong Mask = FindMask();

    /// <summary>Bytes of an XSAVE area in the standard format with all of <see cref="Mask"/>.</summary>
    public static readonly int AreaBytes = (Mask & 0xE0) != 0 ? 2688 : (Mask & 4) != 0 ? 832 : 576;

    private static ulong FindMask()
    {
        (_, _, int ecx, _) = X86Base.CpuId(1, 0);
        if ((ecx & (1 << 27)) == 0)
        {
            return 3;
        }

        (int eax, _, _, _) = X86Base.CpuId(13, 0);
        return Avx512F.IsSupported ? (uint)eax & 0xE7 : Avx.IsSupported ? (uint)eax & 7 : 3;
    }
}
