using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;

namespace Yadokari.Conformance.Tests;

/// <summary>Where things stand in an XSAVE area in the standard format on this host (Intel SDM volume 1, 13.4; CPUID leaf 0DH).</summary>
public static class XsaveLayout
{
    /// <summary>x87, SSE, AVX, opmask, ZMM_Hi256 and Hi16_ZMM: the components that tests set and compare.</summary>
    private const ulong Known = 0xE7;

    private static readonly int[] s_offsets = FindOffsets();

    /// <summary>XCR0 of the host.</summary>
    public static ulong HostXcr0 { get; } = FindXcr0();

    /// <summary>The components that tests set and compare, as bits of XCR0.</summary>
    public static ulong Components { get; } = HostXcr0 & Known;

    /// <summary>Whether the host lets programs use AVX-512.</summary>
    public static bool HasAvx512 { get; } = (Components & 0xE0) == 0xE0;

    /// <summary>Bytes up to the end of the last of <see cref="Components"/>.</summary>
    public static int Length { get; } = FindLength();

    /// <summary>The offset of the high halves of YMM0 to YMM15, 16 bytes each.</summary>
    public static int YmmHigh => s_offsets[2];

    /// <summary>The offset of k0 to k7, 8 bytes each.</summary>
    public static int Opmask => s_offsets[5];

    /// <summary>The offset of the high halves of ZMM0 to ZMM15, 32 bytes each.</summary>
    public static int ZmmHigh => s_offsets[6];

    /// <summary>The offset of ZMM16 to ZMM31, 64 bytes each.</summary>
    public static int Zmm16 => s_offsets[7];

    /// <summary>The offset and length of a component.</summary>
    public static (int Offset, int Length) Component(int index) => index switch
    {
        0 => (0, 160),
        1 => (160, 256),
        2 => (s_offsets[2], 256),
        5 => (s_offsets[5], 64),
        6 => (s_offsets[6], 512),
        7 => (s_offsets[7], 1024),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <summary>The state after FNINIT, with MXCSR 1F80 and clear vector registers, every component marked present.</summary>
    public static void Reset(Span<byte> area)
    {
        area.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(area, 0x037F);
        BinaryPrimitives.WriteUInt32LittleEndian(area[24..], 0x1F80);
        BinaryPrimitives.WriteUInt32LittleEndian(area[28..], 0xFFFF);
        BinaryPrimitives.WriteUInt64LittleEndian(area[512..], Components);
    }

    /// <summary>Gives components that a processor left out because they were in their initial state that state, and marks them present.</summary>
    public static void Complete(Span<byte> area)
    {
        ulong present = BinaryPrimitives.ReadUInt64LittleEndian(area[512..]);
        for (int i = 0; i < 8; i++)
        {
            if ((Components >> i & 1) == 0 || (present >> i & 1) != 0)
            {
                continue;
            }

            (int offset, int length) = Component(i);
            if (i == 0)
            {
                area[..24].Clear();
                area[32..160].Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(area, 0x037F);
            }
            else
            {
                area.Slice(offset, length).Clear();
            }
        }

        // MXCSR_MASK, the bytes that are the kernel's and the header say nothing about the program.
        area[416..512].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(area[28..], 0xFFFF);
        area[512..576].Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(area[512..], Components);
    }

    /// <summary>The 64 bytes of ZMM register <paramref name="index"/>; the upper part is left 0 where the host has none.</summary>
    public static void ReadVector(ReadOnlySpan<byte> area, int index, Span<byte> value)
    {
        value.Clear();
        if (index >= 16)
        {
            area.Slice(Zmm16 + ((index - 16) * 64), 64).CopyTo(value);
            return;
        }

        area.Slice(160 + (index * 16), 16).CopyTo(value);
        if ((Components & 4) != 0)
        {
            area.Slice(YmmHigh + (index * 16), 16).CopyTo(value[16..]);
        }

        if (HasAvx512)
        {
            area.Slice(ZmmHigh + (index * 32), 32).CopyTo(value[32..]);
        }
    }

    /// <summary>Sets the 64 bytes of ZMM register <paramref name="index"/>, as many of them as the host has.</summary>
    public static void WriteVector(Span<byte> area, int index, ReadOnlySpan<byte> value)
    {
        if (index >= 16)
        {
            value.CopyTo(area.Slice(Zmm16 + ((index - 16) * 64), 64));
            return;
        }

        value[..16].CopyTo(area[(160 + (index * 16))..]);
        if ((Components & 4) != 0)
        {
            value[16..32].CopyTo(area[(YmmHigh + (index * 16))..]);
        }

        if (HasAvx512)
        {
            value[32..64].CopyTo(area[(ZmmHigh + (index * 32))..]);
        }
    }

    private static ulong FindXcr0()
    {
        // OSXSAVE; the enabled components by leaf 0DH's EBX would need XGETBV: take what the processor's vector classes in use tell.
        ulong xcr0 = 3;
        if (Avx.IsSupported)
        {
            xcr0 |= 4;
        }

        if (Avx512F.IsSupported)
        {
            xcr0 |= 0xE0;
        }

        return xcr0;
    }

    private static int[] FindOffsets()
    {
        int[] offsets = new int[8];
        for (int i = 2; i < 8; i++)
        {
            (_, int offset, _, _) = X86Base.CpuId(0xD, i);
            offsets[i] = offset;
        }

        return offsets;
    }

    private static int FindLength()
    {
        int length = 576;
        for (int i = 2; i < 8; i++)
        {
            if ((Components >> i & 1) != 0)
            {
                (int offset, int size) = Component(i);
                length = Math.Max(length, offset + size);
            }
        }

        return length;
    }
}
