using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Devices.Power;

namespace Yadokari.Devices.Keyboard;

/// <summary>
/// The keyboard controller of a PC/AT (Intel 8042; IBM PS/2 hardware interface technical reference, keyboard and auxiliary device controller),
/// with or without a keyboard, and the reset line. Commands are answered immediately, so that a guest that probes for a keyboard or a mouse need
/// not wait for timeouts: a byte for a device that is not connected returns 0xFE with the timeout bit, and the auxiliary port fails its test.
/// </summary>
public sealed class I8042 : IPassiveDevice
{
    private const byte OutputFull = 0x01;
    private const byte SystemFlag = 0x04;
    private const byte LastWasCommand = 0x08;
    private const byte NotLocked = 0x10;
    private const byte TimedOut = 0x40;

    private const byte InterruptOnKeyboard = 0x01;
    private const byte KeyboardOff = 0x10;
    private const byte Translation = 0x40;
    private const byte InitialConfiguration = 0x65; // Keyboard interrupt, system flag, auxiliary port off, translation.

    private const byte NoAnswer = 0xFE;

    private const byte OutputPortA20 = 0x02;

    private readonly Lock _lock = new(); // Lock order: before the A20 gate's; the line and reset are called after it is released.
    private readonly OutputPin _irq;
    private readonly Action _reset;
    private readonly A20Gate _a20;
    private readonly Ps2Keyboard? _keyboard;
    private bool _released; // The keyboard's next byte is the code of a key that is released.
    private byte _configuration;
    private byte _outputPort;
    private byte _output;
    private byte _status;
    private byte _command; // Waiting for its data byte; 0 if none.

    /// <summary>Wires the controller.</summary>
    /// <param name="keyboardIrq">IRQ 1.</param>
    /// <param name="reset">Resets the machine. On a vCPU's thread, no lock held.</param>
    /// <param name="keyboard">The keyboard; null if none is connected.</param>
    /// <param name="a20">Address line 20.</param>
    public I8042(IInterruptLine keyboardIrq, Action reset, A20Gate a20, Ps2Keyboard? keyboard = null)
    {
        _a20 = a20;
        _keyboard = keyboard;
        _irq = new OutputPin(keyboardIrq);
        _reset = reset;
        Data = new BytePorts(1, _ => ReadData(), (_, value) => WriteData(value));
        Command = new BytePorts(1, _ => ReadStatus(), (_, value) => WriteCommand(value));
        Reset();
    }

    /// <summary>Port 0x60.</summary>
    public IBusDevice Data { get; }

    /// <summary>Port 0x64: status when read, command when written.</summary>
    public IBusDevice Command { get; }

    /// <summary>Raised when the guest has read all queued key codes. On a vCPU's thread, no lock held.</summary>
    public event Action? Drained;

    /// <summary>Presses and releases keys. Any thread.</summary>
    /// <param name="codes">Codes of set 2.</param>
    /// <returns>Whether the keyboard queued them: not while its queue is full, or while the guest has disabled it.</returns>
    public bool Press(ReadOnlySpan<byte> codes)
    {
        lock (_lock)
        {
            if (_keyboard?.HasRoom(codes.Length) != true)
            {
                return false;
            }

            _keyboard.Press(codes);
            TakeFromKeyboard();
        }

        _irq.Publish();
        return true;
    }

    /// <inheritdoc/>
    public string Name => "i8042";

    /// <summary>The state after power-on and a passed self-test.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _configuration = InitialConfiguration;
            _outputPort = 0x01 | OutputPortA20;
            _a20.Put(open: true);
            _output = 0;
            _status = SystemFlag | NotLocked;
            _command = 0;
            _released = false;
            _keyboard?.Reset();
            _irq.Put(false);
        }

        _irq.Publish();
    }

    private byte ReadStatus()
    {
        lock (_lock)
        {
            return _status;
        }
    }

    private byte ReadData()
    {
        byte value;
        bool drained;
        lock (_lock)
        {
            value = _output;
            bool full = (_status & OutputFull) != 0;
            _status &= unchecked((byte)~(OutputFull | TimedOut));
            _irq.Put(false);
            TakeFromKeyboard();
            drained = full && (_status & OutputFull) == 0;
        }

        _irq.Publish();
        if (drained)
        {
            Drained?.Invoke();
        }

        return value;
    }

    private void WriteCommand(byte value)
    {
        bool reset = false;
        lock (_lock)
        {
            _status |= LastWasCommand;
            _command = 0;
            switch (value)
            {
                case >= 0x20 and <= 0x3F:
                    Answer(value == 0x20 ? _configuration : (byte)0);
                    break;
                case 0x60 or 0xD1 or 0xD2 or 0xD3 or 0xD4:
                    _command = value;
                    break;
                case 0xA7:
                    _configuration |= 0x20;
                    break;
                case 0xA8:
                    _configuration &= 0xDF;
                    break;
                case 0xA9:
                    Answer(0x01); // Auxiliary port test: its clock line is stuck.
                    break;
                case 0xAA:
                    Answer(0x55); // Self-test passed.
                    break;
                case 0xAB:
                    Answer(0x00); // Keyboard port test passed.
                    break;
                case 0xAD:
                    _configuration |= 0x10;
                    break;
                case 0xAE:
                    _configuration &= 0xEF;
                    TakeFromKeyboard();
                    break;
                case 0xC0:
                    Answer(0x80); // Input port: keyboard not locked.
                    break;
                case 0xD0:
                    Answer(_outputPort);
                    break;
                case >= 0xF0:
                    reset = (value & 1) == 0; // Pulses the output port's lines whose bits are 0; line 0 is the processor's reset.
                    break;
                default:
                    break;
            }
        }

        Finish(reset);
    }

    private void WriteData(byte value)
    {
        bool reset = false;
        lock (_lock)
        {
            byte command = _command;
            _command = 0;
            _status &= unchecked((byte)~LastWasCommand);
            switch (command)
            {
                case 0x60:
                    _configuration = value;
                    _status = (byte)((_status & ~SystemFlag) | (value & SystemFlag));
                    TakeFromKeyboard();
                    break;
                case 0xD1:
                    reset = (value & 1) == 0;
                    _outputPort = value;
                    _a20.Put((value & OutputPortA20) != 0);
                    break;
                case 0xD2:
                    Answer(value, interrupt: true);
                    break;
                case 0 when _keyboard is not null:
                    // A byte for the keyboard turns its interface on.
                    _configuration &= unchecked((byte)~KeyboardOff);
                    _keyboard.Receive(value);
                    TakeFromKeyboard();
                    break;
                default:
                    _status |= TimedOut; // A byte for the keyboard or the auxiliary device, which is not connected.
                    Answer(NoAnswer, interrupt: command == 0);
                    break;
            }
        }

        Finish(reset);
    }

    // The output buffer holds one byte: the keyboard sends the next one after it is read.
    private void TakeFromKeyboard()
    {
        while (_keyboard is { HasByte: true } && (_status & OutputFull) == 0 && (_configuration & KeyboardOff) == 0)
        {
            byte value = _keyboard.Send();
            if ((_configuration & Translation) != 0)
            {
                if (value == ScanCodes.Release)
                {
                    _released = true;
                    continue;
                }

                value = (byte)(ScanCodes.Translate(value) | (_released ? 0x80 : 0));
                _released = false;
            }

            Answer(value, interrupt: true);
        }
    }

    private void Answer(byte value, bool interrupt = false)
    {
        _output = value;
        _status |= OutputFull;
        _irq.Put(false);
        _irq.Put(interrupt && (_configuration & InterruptOnKeyboard) != 0);
    }

    private void Finish(bool reset)
    {
        _irq.Publish();
        if (reset)
        {
            _reset();
        }
    }
}
