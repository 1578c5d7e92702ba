using Yadokari.Devices.Keyboard;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Translates what a terminal sends (ECMA-48; xterm's control sequences for function keys) to scan codes of a PS/2 keyboard with the US
/// layout. Characters that such a keyboard can't type are dropped. State is kept across calls.
/// </summary>
/// <param name="press">Receives each stroke: make and break codes of scan code set 2.</param>
internal sealed class KeyStrokes(Action<byte[]> press)
{
    private const byte Escape = 0x1B;

    // Scan codes of set 1.
    private const byte EscapeKey = 0x01;
    private const byte Backspace = 0x0E;
    private const byte Tab = 0x0F;
    private const byte Enter = 0x1C;
    private const byte Control = 0x1D;
    private const byte Shift = 0x2A;
    private const byte Alt = 0x38;
    private const byte Space = 0x39;

    // The rows of keys, from the codes of their first ones, plain and with Shift.
    private static readonly (byte First, string Plain, string Shifted)[] s_rows =
    [
        (0x02, "1234567890-=", "!@#$%^&*()_+"), (0x10, "qwertyuiop[]", "QWERTYUIOP{}"), (0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
        (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    ];

    // By the number before the tilde of a control sequence; 0 for none.
    private static readonly byte[] s_numbered =
    [
        0, 0x47, 0x52, 0x53, 0x4F, 0x49, 0x51, 0x47, 0x4F, 0, 0, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0, 0x57, 0x58,
    ];

    /// <summary>Types all of <paramref name="keys"/> and returns their count. A control sequence must be complete in one call.</summary>
    public int Type(ReadOnlySpan<byte> keys)
    {
        int typed = keys.Length;
        while (!keys.IsEmpty)
        {
            int taken = keys[0] == Escape && keys.Length > 1 ? TypeSequence(keys) : 1;
            if (taken == 1)
            {
                TypeByte(keys[0], 0);
            }

            keys = keys[taken..];
        }

        return typed;
    }

    private int TypeSequence(ReadOnlySpan<byte> keys)
    {
        if (keys[1] is not ((byte)'[' or (byte)'O') || keys.Length == 2)
        {
            // A key with Alt.
            TypeByte(keys[1], Alt);
            return 2;
        }

        int end = 2;
        int number = 0;
        bool first = true;
        while (end < keys.Length && keys[end] is >= 0x20 and < 0x40)
        {
            first &= keys[end] != ';';
            number = first && char.IsAsciiDigit((char)keys[end]) ? Math.Min((number * 10) + keys[end] - '0', 99) : number;
            end++;
        }

        if (end == keys.Length)
        {
            return end;
        }

        byte final = keys[end];
        (byte code, bool extended) = final switch
        {
            (byte)'A' => ((byte)0x48, true),
            (byte)'B' => ((byte)0x50, true),
            (byte)'C' => ((byte)0x4D, true),
            (byte)'D' => ((byte)0x4B, true),
            (byte)'H' => ((byte)0x47, true),
            (byte)'F' => ((byte)0x4F, true),
            >= (byte)'P' and <= (byte)'S' => ((byte)(0x3B + final - 'P'), false),
            (byte)'~' when number < s_numbered.Length => (s_numbered[number], number < 9),
            _ => ((byte)0, false),
        };
        if (code != 0)
        {
            Stroke(code, extended);
        }
        else if (final == 'Z')
        {
            Stroke(Tab, extended: false, Shift);
        }

        return end + 1;
    }

    private void TypeByte(byte key, byte with)
    {
        switch (key)
        {
            case (byte)'\r' or (byte)'\n':
                Stroke(Enter, extended: false, with);
                return;
            case (byte)'\t':
                Stroke(Tab, extended: false, with);
                return;
            case 0x08 or 0x7F:
                Stroke(Backspace, extended: false, with);
                return;
            case Escape:
                Stroke(EscapeKey, extended: false, with);
                return;
            case (byte)' ':
                Stroke(Space, extended: false, with);
                return;
            case > 0 and <= 26:
                TypeByte((byte)(key + 0x60), Control);
                return;
        }

        foreach ((byte first, string plain, string shifted) in s_rows)
        {
            if (plain.IndexOf((char)key) is >= 0 and int at)
            {
                Stroke((byte)(first + at), extended: false, with);
            }
            else if (shifted.IndexOf((char)key) is >= 0 and int above)
            {
                Stroke((byte)(first + above), extended: false, Shift, with);
            }
        }
    }

    private void Stroke(byte code, bool extended, params ReadOnlySpan<byte> with)
    {
        List<byte> codes = [];
        foreach (byte modifier in with)
        {
            Add(modifier, false, released: false);
        }

        Add(code, extended, released: false);
        Add(code, extended, released: true);
        for (int i = with.Length - 1; i >= 0; i--)
        {
            Add(with[i], false, released: true);
        }

        press([.. codes]);

        void Add(byte key, bool isExtended, bool released)
        {
            if (key != 0)
            {
                codes.AddRange(isExtended ? [ScanCodes.Extended] : []);
                codes.AddRange(released ? [ScanCodes.Release] : []);
                codes.Add(ScanCodes.FromSet1(key));
            }
        }
    }
}
