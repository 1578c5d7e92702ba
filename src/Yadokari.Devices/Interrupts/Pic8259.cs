namespace Yadokari.Devices.Interrupts;

/// <summary>
/// One Intel 8259A (data sheet 231468-003, December 1988). Not a device by itself: <see cref="DualPic8259"/> guards it and wires two together.
/// </summary>
/// <param name="cascade">Inputs that follow the level of another 8259's INT, whatever the edge/level register says.</param>
internal sealed class Pic8259(byte cascade)
{
    private byte _lines;
    private byte _latched;
    private byte _inService;
    private byte _masked = 0xFF;
    private byte _levelTriggered;
    private int _base;
    private int _lowest = 7;
    private int _initializing; // The next ICW expected at the odd port: 2, 3, 4, or 0 when done.
    private bool _needsIcw4;
    private bool _single;
    private bool _levelMode;
    private bool _autoEnd;
    private bool _rotateOnAutoEnd;
    private bool _fullyNested;
    private bool _specialMask;
    private bool _readInService;
    private bool _poll;

    /// <summary>The byte of the edge/level control register: bits set are level triggered.</summary>
    public byte LevelTriggered
    {
        get => _levelTriggered;
        set
        {
            _levelTriggered = value;
            _latched &= (byte)~value;
        }
    }

    /// <summary>Whether INT is raised.</summary>
    public bool Output => Candidate() >= 0;

    private byte LevelInputs => (byte)(_levelMode ? 0xFF : _levelTriggered | cascade);

    /// <summary>IRR: levels of level-triggered inputs, and edges caught at the others that stayed high.</summary>
    private byte Requests => (byte)((_lines & LevelInputs) | (_latched & ~LevelInputs));

    public void Reset()
    {
        _latched = 0;
        _inService = 0;
        _masked = 0xFF;
        _levelTriggered = 0;
        _base = 0;
        _lowest = 7;
        _initializing = 0;
        _levelMode = _autoEnd = _rotateOnAutoEnd = _fullyNested = _specialMask = _readInService = _poll = false;
    }

    /// <summary>Sets an input. An edge whose level falls before INTA is withdrawn.</summary>
    public void SetLine(int input, bool asserted)
    {
        byte bit = (byte)(1 << input);
        if (!asserted)
        {
            _lines &= (byte)~bit;
            _latched &= (byte)~bit;
        }
        else if ((_lines & bit) == 0)
        {
            _lines |= bit;
            _latched |= bit;
        }
    }

    /// <summary>Whether an input is not masked.</summary>
    public bool IsUnmasked(int input) => (_masked & (1 << input)) == 0;

    /// <summary>Whether an unmasked input is pending (IRR).</summary>
    public bool IsPending(int input) => (Requests & ~_masked & (1 << input)) != 0;

    /// <summary>INTA: moves the request of the highest priority into service. Returns the input, or -1 if there is none.</summary>
    public int Acknowledge()
    {
        int input = Candidate();
        if (input < 0)
        {
            return -1;
        }

        byte bit = (byte)(1 << input);
        _latched &= (byte)~bit;
        if (!_autoEnd)
        {
            _inService |= bit;
        }
        else if (_rotateOnAutoEnd)
        {
            _lowest = input;
        }

        return input;
    }

    /// <summary>The vector of an input.</summary>
    public int Vector(int input) => _base | input;

    public byte Read(int port)
    {
        if (_poll)
        {
            _poll = false;
            int input = Acknowledge();
            return input < 0 ? (byte)0 : (byte)(0x80 | input);
        }

        return port == 1 ? _masked : _readInService ? _inService : Requests;
    }

    public void Write(int port, byte value)
    {
        if (port == 0)
        {
            if ((value & 0x10) != 0)
            {
                WriteIcw1(value);
            }
            else if ((value & 0x08) != 0)
            {
                WriteOcw3(value);
            }
            else
            {
                WriteOcw2(value);
            }

            return;
        }

        switch (_initializing)
        {
            case 2:
                _base = value & 0xF8;
                _initializing = !_single ? 3 : _needsIcw4 ? 4 : 0;
                break;
            case 3:
                _initializing = _needsIcw4 ? 4 : 0; // ICW3 is ignored: the cascade is fixed.
                break;
            case 4:
                _autoEnd = (value & 0x02) != 0;
                _fullyNested = (value & 0x10) != 0;
                _initializing = 0;
                break;
            default:
                _masked = value;
                break;
        }
    }

    private void WriteIcw1(byte value)
    {
        _needsIcw4 = (value & 0x01) != 0;
        _single = (value & 0x02) != 0;
        _levelMode = (value & 0x08) != 0;
        _initializing = 2;
        _latched = 0; // The edge sense circuit is reset: an input has to go low and high again.
        _masked = 0;
        _inService = 0;
        _lowest = 7;
        _autoEnd = _rotateOnAutoEnd = _fullyNested = _specialMask = _readInService = _poll = false;
    }

    private void WriteOcw2(byte value)
    {
        int level = value & 7;
        switch (value >> 5)
        {
            case 0b000:
                _rotateOnAutoEnd = false;
                break;
            case 0b100:
                _rotateOnAutoEnd = true;
                break;
            case 0b001:
                EndHighest(rotate: false);
                break;
            case 0b101:
                EndHighest(rotate: true);
                break;
            case 0b011:
                _inService &= (byte)~(1 << level);
                break;
            case 0b111:
                _inService &= (byte)~(1 << level);
                _lowest = level;
                break;
            case 0b110:
                _lowest = level;
                break;
            default:
                break;
        }
    }

    private void WriteOcw3(byte value)
    {
        _poll = (value & 0x04) != 0;
        if ((value & 0x02) != 0)
        {
            _readInService = (value & 0x01) != 0;
        }

        if ((value & 0x40) != 0)
        {
            _specialMask = (value & 0x20) != 0;
        }
    }

    private void EndHighest(bool rotate)
    {
        // In special mask mode a non-specific EOI passes over masked levels.
        int rank = PriorityOf((byte)(_specialMask ? _inService & ~_masked : _inService));
        if (rank < 8)
        {
            int input = Input(rank);
            _inService &= (byte)~(1 << input);
            if (rotate)
            {
                _lowest = input;
            }
        }
    }

    private int Candidate()
    {
        int requested = PriorityOf((byte)(Requests & ~_masked));
        if (requested == 8)
        {
            return -1;
        }

        int serving = _inService;
        if (_specialMask)
        {
            serving &= ~_masked; // A masked level in service does not inhibit lower levels.
        }

        if (_fullyNested)
        {
            serving &= ~cascade; // A cascaded 8259 may interrupt itself.
        }

        return requested < PriorityOf((byte)serving) ? Input(requested) : -1;
    }

    /// <summary>The priority of the highest set bit, 0 the highest; 8 if none is set.</summary>
    private int PriorityOf(byte bits)
    {
        int rank = 0;
        while (rank < 8 && (bits & (1 << Input(rank))) == 0)
        {
            rank++;
        }

        return rank;
    }

    private int Input(int rank) => (_lowest + 1 + rank) & 7;
}
