using System.Buffers.Binary;

namespace Yadokari.Networks.User;

/// <summary>A TCP segment (RFC 9293, 3.1).</summary>
internal readonly ref struct TcpSegment
{
    /// <summary>Bytes of a header without options.</summary>
    public const int HeaderSize = 20;

    /// <summary>Offset of the checksum field.</summary>
    public const int ChecksumAt = 16;

    public const byte Fin = 1;
    public const byte Syn = 2;
    public const byte Rst = 4;
    public const byte Psh = 8;
    public const byte Ack = 16;

    private const byte EndOfOptions = 0;
    private const byte NoOption = 1;
    private const byte SegmentSizeOption = 2;
    private const byte ScaleOption = 3;
    private const int MaxScale = 14; // RFC 7323, 2.3

    public ushort SourcePort { get; private init; }

    public ushort DestinationPort { get; private init; }

    public uint Sequence { get; private init; }

    public uint Acknowledged { get; private init; }

    public byte Flags { get; private init; }

    public ushort Window { get; private init; }

    public ReadOnlySpan<byte> Options { get; private init; }

    public ReadOnlySpan<byte> Data { get; private init; }

    /// <summary>SEG.LEN: the sequence numbers that it occupies.</summary>
    public uint Length => (uint)Data.Length + (Has(Syn) ? 1u : 0) + (Has(Fin) ? 1u : 0);

    public bool Has(byte flag) => (Flags & flag) != 0;

    /// <summary>Parses a segment. False if it is malformed.</summary>
    public static bool TryRead(ReadOnlySpan<byte> body, out TcpSegment segment)
    {
        segment = default;
        int header = body.Length < HeaderSize ? 0 : (body[12] >> 4) * 4;
        if (header < HeaderSize || header > body.Length)
        {
            return false;
        }

        segment = new TcpSegment
        {
            SourcePort = BinaryPrimitives.ReadUInt16BigEndian(body),
            DestinationPort = BinaryPrimitives.ReadUInt16BigEndian(body[2..]),
            Sequence = BinaryPrimitives.ReadUInt32BigEndian(body[4..]),
            Acknowledged = BinaryPrimitives.ReadUInt32BigEndian(body[8..]),
            Flags = body[13],
            Window = BinaryPrimitives.ReadUInt16BigEndian(body[14..]),
            Options = body[HeaderSize..header],
            Data = body[header..],
        };
        return true;
    }

    /// <summary>Options of a SYN: the maximum segment size, and the window scale shift, or null without one.</summary>
    public (int SegmentSize, int? Scale) ReadOptions(int defaultSize)
    {
        (int size, int? scale) = (defaultSize, null);
        for (ReadOnlySpan<byte> rest = Options; rest.Length > 0 && rest[0] != EndOfOptions;)
        {
            if (rest[0] == NoOption)
            {
                rest = rest[1..];
                continue;
            }

            if (rest.Length < 2 || rest[1] < 2 || rest[1] > rest.Length)
            {
                break;
            }

            if (rest[0] == SegmentSizeOption && rest[1] == 4)
            {
                size = BinaryPrimitives.ReadUInt16BigEndian(rest[2..]);
            }
            else if (rest[0] == ScaleOption && rest[1] == 3)
            {
                scale = Math.Min((int)rest[2], MaxScale);
            }

            rest = rest[rest[1]..];
        }

        return (size, scale);
    }

    /// <summary>Writes the header; <paramref name="options"/> bytes of options follow it.</summary>
    public static void Write(Span<byte> body, ushort from, ushort to, uint sequence, uint acknowledged, byte flags, int window, int options = 0)
    {
        BinaryPrimitives.WriteUInt16BigEndian(body, from);
        BinaryPrimitives.WriteUInt16BigEndian(body[2..], to);
        BinaryPrimitives.WriteUInt32BigEndian(body[4..], sequence);
        BinaryPrimitives.WriteUInt32BigEndian(body[8..], acknowledged);
        body[12] = (byte)((HeaderSize + options) / 4 << 4);
        body[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(body[14..], (ushort)Math.Min(window, ushort.MaxValue));
        body[18] = body[19] = 0;
    }

    /// <summary>Writes the options of a SYN: eight bytes.</summary>
    public static void WriteOptions(Span<byte> options, int segmentSize, int scale)
    {
        options[0] = SegmentSizeOption;
        options[1] = 4;
        BinaryPrimitives.WriteUInt16BigEndian(options[2..], (ushort)segmentSize);
        options[4] = NoOption;
        options[5] = ScaleOption;
        options[6] = 3;
        options[7] = (byte)scale;
    }
}
