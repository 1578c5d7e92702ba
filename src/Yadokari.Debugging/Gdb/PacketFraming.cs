using System.Text;

namespace Yadokari.Debugging.Gdb;

/// <summary>Puts replies into packets: <c>$data#checksum</c> (GDB manual, appendix E.1).</summary>
internal static class PacketFraming
{
    /// <summary>Frames a reply, every character of which is one byte.</summary>
    public static byte[] Frame(string reply)
    {
        byte[] raw = Encoding.Latin1.GetBytes(reply);
        var packet = new List<byte>(raw.Length + 8) { (byte)'$' };
        byte checksum = 0;
        foreach (byte value in raw)
        {
            // '*' must be escaped in replies: it starts a run length.
            if (value is (byte)'$' or (byte)'#' or (byte)'}' or (byte)'*')
            {
                packet.Add((byte)'}');
                packet.Add((byte)(value ^ 0x20));
                checksum += (byte)('}' + (value ^ 0x20));
            }
            else
            {
                packet.Add(value);
                checksum += value;
            }
        }

        packet.AddRange(Encoding.ASCII.GetBytes($"#{checksum:x2}"));
        return [.. packet];
    }
}

/// <summary>Result of parsing a client's byte.</summary>
internal enum ClientEvent
{
    /// <summary>Nothing complete yet.</summary>
    None,

    /// <summary>A packet with a good checksum: <see cref="PacketReader.Packet"/>.</summary>
    Packet,

    /// <summary>A packet with a bad checksum, or one too long.</summary>
    BadPacket,

    /// <summary>'-': a negative acknowledgement; the client requests retransmission of the last packet.</summary>
    Resend,

    /// <summary>Byte 3 between packets: Ctrl-C.</summary>
    Interrupt,
}

/// <summary>
/// Parses packets from a client's bytes. Accepts any input: bytes between packets are skipped, an unescaped '$' starts a new packet, and a packet beyond
/// the limit is skipped up to its end and reported as bad. Memory is bounded by the limit.
/// </summary>
internal sealed class PacketReader(int limit)
{
    private enum State
    {
        Between,
        Body,
        Escaped,
        FirstDigit,
        SecondDigit,
    }

    private readonly List<byte> _body = [];
    private State _state;
    private byte _checksum;
    private int _given;
    private bool _overlong;

    /// <summary>The last packet's content, unescaped.</summary>
    public byte[] Packet { get; private set; } = [];

    /// <summary>Whether checksums are verified; after QStartNoAckMode a client may send any.</summary>
    public bool CheckSums { get; set; } = true;

    /// <summary>Parses the next byte.</summary>
    public ClientEvent Push(byte value)
    {
        switch (_state)
        {
            case State.Between:
                switch (value)
                {
                    case (byte)'$':
                        Begin();
                        return ClientEvent.None;
                    case (byte)'-':
                        return ClientEvent.Resend;
                    case 3:
                        return ClientEvent.Interrupt;
                    default:
                        return ClientEvent.None;
                }

            case State.Body when value == '$':
                Begin();
                return ClientEvent.None;

            case State.Body when value == '#':
                _state = State.FirstDigit;
                return ClientEvent.None;

            case State.Body when value == '}':
                _checksum += value;
                _state = State.Escaped;
                return ClientEvent.None;

            case State.Body:
                Append(value, value);
                return ClientEvent.None;

            case State.Escaped:
                Append((byte)(value ^ 0x20), value);
                _state = State.Body;
                return ClientEvent.None;

            case State.FirstDigit:
                _given = Digit(value) << 4;
                _state = State.SecondDigit;
                return ClientEvent.None;

            default:
                _state = State.Between;
                int digit = Digit(value);
                if (_overlong || (CheckSums && (_given < 0 || digit < 0 || (_given | digit) != _checksum)))
                {
                    return ClientEvent.BadPacket;
                }

                Packet = [.. _body];
                return ClientEvent.Packet;
        }
    }

    private static int Digit(byte value) => char.IsAsciiHexDigit((char)value) ? Convert.ToInt32(((char)value).ToString(), 16) : -1;

    private void Begin()
    {
        _body.Clear();
        _checksum = 0;
        _overlong = false;
        _state = State.Body;
    }

    private void Append(byte decoded, byte raw)
    {
        _checksum += raw;
        _overlong |= _body.Count >= limit;
        if (!_overlong)
        {
            _body.Add(decoded);
        }
    }
}
