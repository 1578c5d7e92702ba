using System.Numerics;
using System.Runtime.Intrinsics.X86;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>What FXSAVE and XSAVE make of the x87's pointers where no exception is pending; the guest's do the same.</summary>
internal enum X87PointerSaving
{
    /// <summary>They are saved: Intel's processors.</summary>
    Always,

    /// <summary>Zeros are saved: AMD's with XSAVEERPTR (APM 3, CPUID 8000_0008h EBX bit 2).</summary>
    Zeros,

    /// <summary>Memory stays as it is: AMD's without.</summary>
    Never,
}

/// <summary>Ways of the host's x87 that are the guest's.</summary>
internal static unsafe class HostX87
{
    // CPUID 7, EBX: FDP_EXCPTN_ONLY, and that FCS and FDS are deprecated.
    private static readonly int s_features = X86Base.CpuId(0, 0).Eax >= 7 ? X86Base.CpuId(7, 0).Ebx : 0;

    // Upper bits of pointers that are copies of the one below.
    private static readonly int s_copied = FindCopied();

    /// <summary>What becomes of the pointers where no exception is pending.</summary>
    public static X87PointerSaving Saving { get; } = FindSaving();

    /// <summary>Selectors are saved; else 0.</summary>
    public static bool HasSelectors { get; } = (s_features & (1 << 13)) == 0;

    /// <summary>The operand's pointer moves only with an exception that is not masked.</summary>
    public static bool OperandOnlyWithException { get; } = (s_features & (1 << 6)) != 0;

    /// <summary>A 64-bit pointer as the x87 holds it once it is loaded.</summary>
    public static ulong Held(ulong pointer) => (ulong)((long)(pointer << s_copied) >> s_copied);

    private static X87PointerSaving FindSaving()
    {
        // FNINIT; FLDZ; FXSAVE64 [RDI]; FNINIT; RET.
        ulong pointer = Run([0xDB, 0xE3, 0xD9, 0xEE, 0x48, 0x0F, 0xAE, 0x07, 0xDB, 0xE3, 0xC3], status: 0, ulong.MaxValue);
        return pointer switch { 0 => X87PointerSaving.Zeros, ulong.MaxValue => X87PointerSaving.Never, _ => X87PointerSaving.Always };
    }

    // Processors hold as many bits as their linear addresses have, whatever a hypervisor has them tell: 48, 57 or all.
    private static int FindCopied()
    {
        // FXRSTOR64 [RDI]; FXSAVE64 [RDI]; FNINIT; RET, with an exception pending.
        ulong pointer = Run([0x48, 0x0F, 0xAE, 0x0F, 0x48, 0x0F, 0xAE, 0x07, 0xDB, 0xE3, 0xC3], status: 1, (1ul << 47) | (1ul << 56));
        return Math.Max(0, BitOperations.LeadingZeroCount(~pointer) - 1);
    }

    // Runs code on an image with this status and this instruction pointer, and returns the latter.
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
