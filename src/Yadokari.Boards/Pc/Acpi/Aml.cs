using System.Buffers.Binary;
using System.Text;

namespace Yadokari.Boards.Pc.Acpi;

/// <summary>Writes ACPI Machine Language (ACPI 6.5, chapter 20): each method gives the bytes of one term, so that terms nest like source.</summary>
internal static class Aml
{
    private const byte ZeroOp = 0x00;
    private const byte OneOp = 0x01;
    private const byte NameOp = 0x08;
    private const byte BytePrefix = 0x0A;
    private const byte WordPrefix = 0x0B;
    private const byte DWordPrefix = 0x0C;
    private const byte StringPrefix = 0x0D;
    private const byte ScopeOp = 0x10;
    private const byte BufferOp = 0x11;
    private const byte PackageOp = 0x12;
    private const byte RootChar = 0x5C;
    private const byte ExtendedPrefix = 0x5B;
    private const byte DeviceOp = 0x82;
    private const byte MethodOp = 0x14;
    private const byte StoreOp = 0x70;
    private const byte IfOp = 0xA0;
    private const byte ReturnOp = 0xA4;
    private const byte Arg0Op = 0x68;
    private const byte Arg3Op = 0x6B;

    // Address space descriptors (ACPI 6.5, 6.4.3.5): the range is fixed at both ends, and the bridge hands it on.
    private const byte FixedBothEnds = 0x0C;
    private const byte MemorySpace = 0;
    private const byte PortSpace = 1;
    private const byte BusSpace = 2;
    private const byte ReadWrite = 1;
    private const byte EntireRange = 3;

    /// <summary>Scope (path) { terms }</summary>
    public static byte[] Scope(string path, params byte[][] terms) => [ScopeOp, .. WithLength([.. Path(path), .. Join(terms)])];

    /// <summary>Device (name) { terms }</summary>
    public static byte[] Device(string name, params byte[][] terms) => [ExtendedPrefix, DeviceOp, .. WithLength([.. Path(name), .. Join(terms)])];

    /// <summary>Name (name, value)</summary>
    public static byte[] Name(string name, byte[] value) => [NameOp, .. Path(name), .. value];

    /// <summary>Method (name, arguments) { terms }</summary>
    public static byte[] Method(string name, int arguments, params byte[][] terms) => [MethodOp, .. WithLength([.. Path(name), (byte)arguments, .. Join(terms)])];

    /// <summary>Store (Arg0, name)</summary>
    public static byte[] StoreArgument(string name) => [StoreOp, Arg0Op, .. Path(name)];

    /// <summary>If (condition) { terms }</summary>
    public static byte[] If(byte[] condition, params byte[][] terms) => [IfOp, .. WithLength([.. condition, .. Join(terms)])];

    /// <summary>Return (value)</summary>
    public static byte[] Return(byte[] value) => [ReturnOp, .. value];

    /// <summary>Return (Arg3)</summary>
    public static byte[] ReturnLastArgument() => [ReturnOp, Arg3Op];

    /// <summary>The object of a name.</summary>
    public static byte[] Reference(string name) => Path(name);

    /// <summary>Package (n) { values }</summary>
    public static byte[] Package(params byte[][] values) => [PackageOp, .. WithLength([(byte)values.Length, .. Join(values)])];

    /// <summary>An integer, as short as it can be.</summary>
    public static byte[] Integer(uint value) => value switch
    {
        0 => [ZeroOp],
        1 => [OneOp],
        <= byte.MaxValue => [BytePrefix, (byte)value],
        <= ushort.MaxValue => [WordPrefix, (byte)value, (byte)(value >> 8)],
        _ => [DWordPrefix, (byte)value, (byte)(value >> 8), (byte)(value >> 16), (byte)(value >> 24)],
    };

    /// <summary>"text"</summary>
    public static byte[] Text(string text) => [StringPrefix, .. Encoding.ASCII.GetBytes(text), 0];

    /// <summary>EisaId ("PNP0501"): three letters of five bits and four hexadecimal digits in four bytes (ACPI 6.5, 19.6.34).</summary>
    public static byte[] EisaId(string id)
    {
        uint letters = (uint)(((id[0] - '@') << 10) | ((id[1] - '@') << 5) | (id[2] - '@'));
        uint packed = (letters << 16) | Convert.ToUInt32(id[3..], 16);
        return Integer(BinaryPrimitives.ReverseEndianness(packed));
    }

    /// <summary>ResourceTemplate () { descriptors }, closed by an end tag.</summary>
    public static byte[] Resources(params byte[][] descriptors)
    {
        byte[] bytes = [.. Join(descriptors), 0x79, 0];
        return [BufferOp, .. WithLength([.. Integer((uint)bytes.Length), .. bytes])];
    }

    /// <summary>IO (Decode16, port, port, 1, length) (ACPI 6.5, 6.4.2.5)</summary>
    public static byte[] Io(ushort port, byte length) => [0x47, 1, (byte)port, (byte)(port >> 8), (byte)port, (byte)(port >> 8), 1, length];

    /// <summary>IRQNoFlags () { irq }: edge triggered, active high, not shared (ACPI 6.5, 6.4.2.1)</summary>
    public static byte[] Irq(int irq) => [0x22, (byte)(1 << irq), (byte)((1 << irq) >> 8)];

    /// <summary>DMA (Compatibility, NotBusMaster, Transfer8) { channel } (ACPI 6.5, 6.4.2.2)</summary>
    public static byte[] Dma(int channel) => [0x2A, (byte)(1 << channel), 0];

    /// <summary>DMA (Compatibility, BusMaster, Transfer8_16) { channel }: where another controller is cascaded</summary>
    public static byte[] CascadeDma(int channel) => [0x2A, (byte)(1 << channel), 0x05];

    /// <summary>Memory32Fixed (ReadWrite, start, length) (ACPI 6.5, 6.4.3.4)</summary>
    public static byte[] FixedMemory(uint start, uint length)
    {
        byte[] bytes = [0x86, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), start);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), length);
        return bytes;
    }

    /// <summary>WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, first, last, 0, count)</summary>
    public static byte[] BusNumbers(byte first, byte last) => AddressSpace(0x88, 2, BusSpace, 0, first, (ulong)(last - first) + 1);

    /// <summary>WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, start, end, 0, length)</summary>
    public static byte[] Ports(ushort start, ushort length) => AddressSpace(0x88, 2, PortSpace, EntireRange, start, length);

    /// <summary>DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0, start, end, 0, length)</summary>
    public static byte[] Memory32(uint start, uint length) => AddressSpace(0x87, 4, MemorySpace, ReadWrite, start, length);

    /// <summary>The same above 4 GiB: QWordMemory</summary>
    public static byte[] Memory64(ulong start, ulong length) => AddressSpace(0x8A, 8, MemorySpace, ReadWrite, start, length);

    // Granularity, first, last, translation, length: five numbers of 2, 4 or 8 bytes.
    private static byte[] AddressSpace(byte tag, int width, byte space, byte flags, ulong start, ulong length)
    {
        byte[] bytes = new byte[6 + (5 * width)];
        bytes[0] = tag;
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(1), (ushort)(bytes.Length - 3));
        (bytes[3], bytes[4], bytes[5]) = (space, FixedBothEnds, flags);
        Span<byte> number = stackalloc byte[8];
        int at = 6;
        foreach (ulong value in (ReadOnlySpan<ulong>)[0, start, start + length - 1, 0, length])
        {
            BinaryPrimitives.WriteUInt64LittleEndian(number, value);
            number[..width].CopyTo(bytes.AsSpan(at));
            at += width;
        }

        return bytes;
    }

    // PkgLength (ACPI 6.5, 20.2.4): counts itself; one byte up to 63, else four bits and up to three bytes.
    private static byte[] WithLength(byte[] body)
    {
        int length = body.Length + 1;
        if (length < 0x40)
        {
            return [(byte)length, .. body];
        }

        int extra = ++length < 0x1000 ? 1 : ++length < 0x10_0000 ? 2 : 3;
        length = body.Length + 1 + extra;
        byte[] prefix = new byte[1 + extra];
        prefix[0] = (byte)((extra << 6) | (length & 15));
        for (int i = 1; i <= extra; i++)
        {
            prefix[i] = (byte)(length >> (4 + (8 * (i - 1))));
        }

        return [.. prefix, .. body];
    }

    private static byte[] Path(string path)
    {
        bool root = path.StartsWith('\\');
        string name = path[(root ? 1 : 0)..].PadRight(4, '_');
        return root ? [RootChar, .. Encoding.ASCII.GetBytes(name)] : Encoding.ASCII.GetBytes(name);
    }

    private static byte[] Join(byte[][] terms)
    {
        byte[] all = new byte[terms.Sum(t => t.Length)];
        int position = 0;
        foreach (byte[] term in terms)
        {
            term.CopyTo(all, position);
            position += term.Length;
        }

        return all;
    }
}
