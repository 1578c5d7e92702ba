using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;
using Yadokari.X86.State;

namespace Yadokari;

/// <summary>
/// Accesses the x87, XMM, YMM, ZMM and mask registers of a <see cref="X86State"/>, in its XSAVE area (Intel SDM volume 1, 13.4). Registers that
/// the host does not have can't be read or set.
/// </summary>
public sealed class VectorRegisters
{
    private const int Header = 512;
    private static readonly int s_ymm = OffsetOf(2);
    private static readonly int s_masks = OffsetOf(5);
    private static readonly int s_zmm = OffsetOf(6);
    private static readonly int s_zmm16 = OffsetOf(7);

    private readonly X86State _state;

    internal VectorRegisters(X86State state)
    {
        _state = state;
        _state.Xsave = new byte[16384];
        Mxcsr = 0x1F80;
        ControlWord = 0x37F;
    }

    /// <summary>The components that the host has, as bits of XCR0: x87 and SSE, AVX, AVX-512.</summary>
    internal static ulong Components => Avx512F.IsSupported ? 0xE7u : Avx.IsSupported ? 7u : 3u;

    /// <summary>Bytes of the widest vector registers: 16, 32 or 64.</summary>
    public static int Width => Avx512F.IsSupported ? 64 : Avx.IsSupported ? 32 : 16;

    /// <summary>Count of vector registers: 16, or 32 with AVX-512.</summary>
    public static int Count => Avx512F.IsSupported ? 32 : 16;

    /// <summary>SSE's control and status register.</summary>
    public uint Mxcsr
    {
        get => BinaryPrimitives.ReadUInt32LittleEndian(Area[24..]);
        set => BinaryPrimitives.WriteUInt32LittleEndian(Area[24..], value);
    }

    /// <summary>x87's control word.</summary>
    public ushort ControlWord
    {
        get => BinaryPrimitives.ReadUInt16LittleEndian(Area);
        set => BinaryPrimitives.WriteUInt16LittleEndian(Area, value);
    }

    /// <summary>x87's status word, the top of its stack in bits 11 to 13.</summary>
    public ushort StatusWord
    {
        get => BinaryPrimitives.ReadUInt16LittleEndian(Area[2..]);
        set => BinaryPrimitives.WriteUInt16LittleEndian(Area[2..], value);
    }

    /// <summary>Which x87 registers (by their numbers in the file, not from the top) are in use: FXSAVE's abridged tag word.</summary>
    public byte Tags
    {
        get => Area[4];
        set => Area[4] = value;
    }

    private Span<byte> Area => _state.Xsave;

    /// <summary>ST(index), from the top of the stack: 10 bytes that may be read and written. Its low 8 bytes are an MMX register.</summary>
    public Span<byte> Stack(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, 7u, nameof(index));
        return Area.Slice(32 + (16 * index), 10);
    }

    /// <summary>A mask register of AVX-512.</summary>
    public ulong this[int mask]
    {
        get => BinaryPrimitives.ReadUInt64LittleEndian(Mask(mask));
        set => BinaryPrimitives.WriteUInt64LittleEndian(Mask(mask), value);
    }

    /// <summary>Copies out the low bytes of a vector register.</summary>
    /// <param name="index">0 to <see cref="Count"/> - 1.</param>
    /// <param name="data">Up to <see cref="Width"/> bytes.</param>
    public void Read(int index, Span<byte> data)
    {
        Check(index, data.Length);
        for (int at = 0; at < data.Length; at += 16)
        {
            Span<byte> piece = data[at..Math.Min(data.Length, at + 16)];
            Piece(index, at)[..piece.Length].CopyTo(piece);
        }
    }

    /// <summary>Sets the low bytes of a vector register.</summary>
    /// <param name="index">0 to <see cref="Count"/> - 1.</param>
    /// <param name="data">Up to <see cref="Width"/> bytes.</param>
    public void Write(int index, ReadOnlySpan<byte> data)
    {
        Check(index, data.Length);
        for (int at = 0; at < data.Length; at += 16)
        {
            ReadOnlySpan<byte> piece = data[at..Math.Min(data.Length, at + 16)];
            piece.CopyTo(Piece(index, at));
        }
    }

    /// <summary>Marks all components as present, before the area is loaded.</summary>
    internal void Claim() => BinaryPrimitives.WriteUInt64LittleEndian(Area[Header..], Components);

    /// <summary>Writes the initial state of components that XSAVE left out because they were in it.</summary>
    internal void Complete()
    {
        ulong missing = Components & ~BinaryPrimitives.ReadUInt64LittleEndian(Area[Header..]);
        if ((missing & 1) != 0)
        {
            Area[..24].Clear();
            Area[32..160].Clear();
            ControlWord = 0x37F;
        }

        foreach ((int component, int offset, int length) in
            (ReadOnlySpan<(int, int, int)>)[(1, 160, 256), (2, s_ymm, 256), (5, s_masks, 64), (6, s_zmm, 512), (7, s_zmm16, 1024)])
        {
            if ((missing >> component & 1) != 0)
            {
                Area.Slice(offset, length).Clear();
            }
        }
    }

    private Span<byte> Mask(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, 7u, nameof(index));
        return Avx512F.IsSupported ? Area.Slice(s_masks + (8 * index), 8) : throw new NotSupportedException("This host has no AVX-512, and so no mask registers.");
    }

    private Span<byte> Piece(int index, int at) => index >= 16 ? Area.Slice(s_zmm16 + (64 * (index - 16)) + at, 16)
        : at == 0 ? Area.Slice(160 + (16 * index), 16)
        : at == 16 ? Area.Slice(s_ymm + (16 * index), 16)
        : Area.Slice(s_zmm + (32 * index) + at - 32, 16);

    private static void Check(int index, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Width, nameof(length));
    }

    private static int OffsetOf(int component) => X86Base.CpuId(0xD, component).Ebx;
}
