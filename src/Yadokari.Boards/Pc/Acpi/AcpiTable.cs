using System.Buffers.Binary;
using System.Text;

namespace Yadokari.Boards.Pc.Acpi;

/// <summary>A system description table that grows as it is written (ACPI 6.5, 5.2.6).</summary>
internal sealed class AcpiTable
{
    /// <summary>Bytes of the header common to all tables.</summary>
    public const int HeaderSize = 36;

    private const int LengthOffset = 4;
    private const int ChecksumOffset = 9;

    private readonly byte[] _bytes;

    /// <summary>Makes a table with its header and room for a body.</summary>
    /// <param name="signature">Four letters.</param>
    /// <param name="revision">The table's revision.</param>
    /// <param name="length">Bytes with the header.</param>
    public AcpiTable(string signature, byte revision, int length)
    {
        _bytes = new byte[length];
        Text(0, signature);
        U32(LengthOffset, (uint)length);
        U8(8, revision);
        Text(10, "YADOKA");
        Text(16, "YADOKARI");
        U32(24, 1);
        Text(28, "YADO");
        U32(32, 1);
    }

    /// <summary>Makes a table around a body.</summary>
    public AcpiTable(string signature, byte revision, byte[] body)
        : this(signature, revision, HeaderSize + body.Length) => body.CopyTo(_bytes, HeaderSize);

    /// <summary>The table with its checksum.</summary>
    public byte[] Finish()
    {
        _bytes[ChecksumOffset] = 0;
        _bytes[ChecksumOffset] = Checksum(_bytes);
        return _bytes;
    }

    /// <summary>The byte that makes the sum of all zero.</summary>
    public static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
        {
            sum += b;
        }

        return (byte)-sum;
    }

    public void U8(int offset, byte value) => _bytes[offset] = value;

    public void U16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(offset), value);

    public void U32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(offset), value);

    public void U64(int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(_bytes.AsSpan(offset), value);

    /// <summary>A generic address structure for ports (ACPI 6.5, 5.2.3.2).</summary>
    public void Port(int offset, ushort port, byte bits, byte accessSize)
    {
        U8(offset, 1);
        U8(offset + 1, bits);
        U8(offset + 3, accessSize);
        U64(offset + 4, port);
    }

    private void Text(int offset, string text) => Encoding.ASCII.GetBytes(text, _bytes.AsSpan(offset));
}
