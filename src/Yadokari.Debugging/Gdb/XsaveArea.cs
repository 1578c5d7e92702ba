using System.Buffers.Binary;

namespace Yadokari.Debugging.Gdb;

/// <summary>
/// Registers in an XSAVE area of the standard format (Intel SDM volume 1, 13.4): a component whose bit in XSTATE_BV is clear is in its
/// initial state, and its bytes are ignored.
/// </summary>
internal sealed class XsaveArea(byte[] area)
{
    private const int LegacySize = 512;
    private const int HeaderEnd = 576;
    private const int StackRegisters = 32;
    private const int XmmRegisters = 160;
    private const int YmmHighRegisters = 576;
    private const int InitialControlWord = 0x37F;
    private const int InitialMxcsr = 0x1F80;

    /// <summary>x87's component.</summary>
    public const int X87 = 0;

    /// <summary>XMM registers' component.</summary>
    public const int Sse = 1;

    /// <summary>Upper halves of the YMM registers.</summary>
    public const int Avx = 2;

    /// <summary>Whether the area has x87 and SSE registers.</summary>
    public bool HasLegacy => area.Length >= LegacySize;

    /// <summary>Whether the area has the upper halves of YMM0 to YMM15.</summary>
    public bool HasAvx => area.Length >= YmmHighRegisters + 256;

    /// <summary>ST(i), counted from the top of the stack: 10 bytes.</summary>
    public bool ReadStack(int index, Span<byte> data) => Read(X87, StackRegisters + (16 * index), data);

    /// <summary>Sets ST(i).</summary>
    public bool WriteStack(int index, ReadOnlySpan<byte> data) => Write(X87, StackRegisters + (16 * index), data);

    /// <summary>An XMM register: 16 bytes.</summary>
    public bool ReadXmm(int index, Span<byte> data) => Read(Sse, XmmRegisters + (16 * index), data);

    /// <summary>Sets an XMM register.</summary>
    public bool WriteXmm(int index, ReadOnlySpan<byte> data) => Write(Sse, XmmRegisters + (16 * index), data);

    /// <summary>The upper half of a YMM register: 16 bytes.</summary>
    public bool ReadYmmHigh(int index, Span<byte> data) => HasAvx && Read(Avx, YmmHighRegisters + (16 * index), data);

    /// <summary>Sets the upper half of a YMM register.</summary>
    public bool WriteYmmHigh(int index, ReadOnlySpan<byte> data) => HasAvx && Write(Avx, YmmHighRegisters + (16 * index), data);

    /// <summary>MXCSR, which XSAVE stores whether or not SSE is in its initial state.</summary>
    public uint Mxcsr
    {
        get => !HasLegacy ? InitialMxcsr : BinaryPrimitives.ReadUInt32LittleEndian(area.AsSpan(24));
        set
        {
            if (HasLegacy)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(area.AsSpan(24), value);
                Claim(Sse);
            }
        }
    }

    /// <summary>
    /// The eight control registers in GDB's order: fctrl fstat ftag fiseg fioff foseg fooff fop. The tag word is the full one of FSTENV,
    /// computed from FXSAVE's abridged one (Intel SDM volume 1, 10.5.1.1).
    /// </summary>
    public uint ReadX87Control(int index)
    {
        if (!IsInUse(X87))
        {
            return index switch { 0 => InitialControlWord, 2 => 0xFFFF, _ => 0 };
        }

        return index switch
        {
            0 => Word(0),
            1 => Word(2),
            2 => FullTags(),
            3 => Word(12),
            4 => BinaryPrimitives.ReadUInt32LittleEndian(area.AsSpan(8)),
            5 => Word(20),
            6 => BinaryPrimitives.ReadUInt32LittleEndian(area.AsSpan(16)),
            _ => Word(6),
        };
    }

    /// <summary>Sets one of the eight.</summary>
    public bool WriteX87Control(int index, uint value)
    {
        if (!HasLegacy)
        {
            return false;
        }

        Claim(X87);
        Span<byte> bytes = area;
        switch (index)
        {
            case 0:
                BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)value);
                break;
            case 1:
                BinaryPrimitives.WriteUInt16LittleEndian(bytes[2..], (ushort)value);
                break;
            case 2:
                bytes[4] = AbridgedTags(value);
                break;
            case 3:
                BinaryPrimitives.WriteUInt16LittleEndian(bytes[12..], (ushort)value);
                break;
            case 4:
                BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], value);
                break;
            case 5:
                BinaryPrimitives.WriteUInt16LittleEndian(bytes[20..], (ushort)value);
                break;
            case 6:
                BinaryPrimitives.WriteUInt32LittleEndian(bytes[16..], value);
                break;
            default:
                BinaryPrimitives.WriteUInt16LittleEndian(bytes[6..], (ushort)value);
                break;
        }

        return true;
    }

    private static byte AbridgedTags(uint full)
    {
        int tags = 0;
        for (int i = 0; i < 8; i++)
        {
            tags |= ((full >> (2 * i)) & 3) == 3 ? 0 : 1 << i;
        }

        return (byte)tags;
    }

    private uint FullTags()
    {
        uint tags = 0;
        int top = (int)(Word(2) >> 11) & 7;
        for (int i = 0; i < 8; i++)
        {
            uint tag = 3;
            if ((area[4] >> i & 1) != 0)
            {
                int offset = StackRegisters + (16 * ((i - top) & 7));
                ulong significand = BinaryPrimitives.ReadUInt64LittleEndian(area.AsSpan(offset));
                uint exponent = Word(offset + 8) & 0x7FFF;
                tag = exponent == 0 && significand == 0 ? 1u : exponent is 0 or 0x7FFF || significand >> 63 == 0 ? 2u : 0u;
            }

            tags |= tag << (2 * i);
        }

        return tags;
    }

    private uint Word(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(area.AsSpan(offset));

    private bool Read(int component, int offset, Span<byte> data)
    {
        if (!HasLegacy)
        {
            return false;
        }

        if (IsInUse(component))
        {
            area.AsSpan(offset, data.Length).CopyTo(data);
        }
        else
        {
            data.Clear();
        }

        return true;
    }

    private bool Write(int component, int offset, ReadOnlySpan<byte> data)
    {
        if (!HasLegacy)
        {
            return false;
        }

        Claim(component);
        data.CopyTo(area.AsSpan(offset));
        return true;
    }

    // An area without a header is an FXSAVE image, all of which is valid.
    private bool IsInUse(int component) => HasLegacy && (area.Length < HeaderEnd || (area[LegacySize] >> component & 1) != 0);

    /// <summary>Marks a component as in use, giving it its initial state first if it was not.</summary>
    private void Claim(int component)
    {
        if (area.Length < HeaderEnd || IsInUse(component))
        {
            return;
        }

        area[LegacySize] |= (byte)(1 << component);
        switch (component)
        {
            case X87:
                area.AsSpan(0, 24).Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(area, InitialControlWord);
                area.AsSpan(StackRegisters, 128).Clear();
                break;
            case Sse:
                area.AsSpan(XmmRegisters, 256).Clear();
                break;
            default:
                area.AsSpan(YmmHighRegisters, 256).Clear();
                break;
        }
    }
}
