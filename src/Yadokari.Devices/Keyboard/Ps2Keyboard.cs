namespace Yadokari.Devices.Keyboard;

/// <summary>
/// A PS/2 keyboard (IBM PS/2 hardware interface technical reference, keyboards): keys go to a queue as codes of set 2, and commands are
/// answered before them. Of <see cref="I8042"/>, under its lock.
/// </summary>
public sealed class Ps2Keyboard
{
    private const byte Acknowledge = 0xFA;
    private const byte Resend = 0xFE;
    private const byte SelfTestPassed = 0xAA;

    // Capacity of the key queue: some seconds of typing. Pasted text is buffered by the sender.
    private const int Capacity = 64;

    private readonly Queue<byte> _answers = [];
    private readonly Queue<byte> _keys = [];
    private byte _command; // Waiting for its argument; 0 if none.
    private byte _last;
    private byte _set;
    private bool _scanning;

    public Ps2Keyboard() => Reset();

    /// <summary>Whether a byte is to be sent.</summary>
    internal bool HasByte => _answers.Count + _keys.Count > 0;

    /// <summary>Whether the queue has room for <paramref name="codes"/> more codes; never while scanning is disabled.</summary>
    internal bool HasRoom(int codes) => _scanning && _keys.Count + codes <= Capacity;

    /// <summary>The state after power-on, without the self-test's result in the queue: firmware would have read it.</summary>
    internal void Reset()
    {
        _answers.Clear();
        _command = 0;
        SetDefaults();
    }

    /// <summary>The next byte.</summary>
    internal byte Send() => _last = _answers.Count > 0 ? _answers.Dequeue() : _keys.Dequeue();

    /// <summary>Keys are pressed or released.</summary>
    internal void Press(ReadOnlySpan<byte> codes)
    {
        foreach (byte code in codes)
        {
            _keys.Enqueue(code);
        }
    }

    /// <summary>A byte comes from the controller.</summary>
    internal void Receive(byte value)
    {
        byte command = _command;
        _command = 0;
        switch (command)
        {
            case 0xED or 0xF3 when value < 0x80: // Set LEDs, set typematic rate: accepted and ignored.
                Answer(Acknowledge);
                return;
            case 0xF0 when value == 0:
                Answer(Acknowledge, _set);
                return;
            case 0xF0 when value <= 3:
                // Only set 2 is emulated: a guest that selects another set finds that by reading it back.
                Answer(Acknowledge);
                _keys.Clear();
                return;
        }

        switch (value)
        {
            case 0xED or 0xF0 or 0xF3:
                _command = value;
                Answer(Acknowledge);
                break;
            case 0xEE:
                Answer(0xEE); // Echo.
                break;
            case 0xF2:
                Answer(Acknowledge, 0xAB, 0x83); // A keyboard with 101 or 102 keys.
                break;
            case 0xF4:
                _keys.Clear();
                _scanning = true;
                Answer(Acknowledge);
                break;
            case 0xF5:
                SetDefaults();
                _scanning = false;
                Answer(Acknowledge);
                break;
            case 0xF6:
                SetDefaults();
                Answer(Acknowledge);
                break;
            case >= 0xF7 and <= 0xFA:
                Answer(Acknowledge); // How keys repeat, in set 3.
                break;
            case Resend:
                Answer(_last);
                break;
            case 0xFF:
                SetDefaults();
                Answer(Acknowledge, SelfTestPassed);
                break;
            default:
                Answer(Resend);
                break;
        }
    }

    private void Answer(params ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
        {
            _answers.Enqueue(b);
        }
    }

    private void SetDefaults()
    {
        _keys.Clear();
        _set = 2;
        _scanning = true;
    }
}
