using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;

namespace Yadokari.Devices.Storage;

/// <summary>
/// A channel of a PC/AT's IDE interface with up to two drives, by programmed input and output (ATA/ATAPI-6, 5 and 9): what firmware and
/// boot loaders use.
/// </summary>
public sealed class AtaChannel : IPassiveDevice
{
    /// <summary>The maximum size of a data block, in bytes.</summary>
    public const int BufferLength = 128 * 512;

    private const byte Busy = 0x80;
    private const byte Ready = 0x40;
    private const byte SeekComplete = 0x10;
    private const byte DataRequest = 0x08;
    private const byte ErrorBit = 0x01;
    private const byte NoInterrupt = 0x02;
    private const byte SoftwareReset = 0x04;
    private const byte ExecuteDiagnostic = 0x90;

    private readonly Lock _lock = new(); // Innermost; system calls on the image are made under it, the line is set after it is released.
    private readonly OutputPin _irq;
    private readonly IAtaDevice?[] _drives;
    private readonly AtaRegisters _registers = new();
    private readonly byte[] _buffer = new byte[BufferLength];
    private byte _status;
    private byte _control;
    private AtaPhase _phase;
    private int _position;
    private int _length;

    /// <summary>Wires a channel.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="irq">Its interrupt request. Called with no lock held.</param>
    /// <param name="first">Drive 0, or null. Not owned.</param>
    /// <param name="second">Drive 1, or null.</param>
    public AtaChannel(string name, IInterruptLine irq, IAtaDevice? first, IAtaDevice? second)
    {
        Name = name;
        _irq = new OutputPin(irq);
        _drives = [first, second];
        Command = new CommandBlock(this);
        Control = new BytePorts(1, _ => Status(alternate: true), (_, value) => WriteControl(value));
        Reset();
    }

    /// <summary>Eight ports from the data register on.</summary>
    public IBusDevice Command { get; }

    /// <summary>Alternate status when read, device control when written.</summary>
    public IBusDevice Control { get; }

    private IAtaDevice? Drive => _drives[_registers.Device >> 4 & 1];

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>The state after power-on.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _control = 0;
            ResetDrives();
        }

        _irq.Publish();
    }

    private void ResetDrives()
    {
        _registers.Device = 0;
        _registers.Error = 1;
        _phase = AtaPhase.Done;
        Drive?.Reset(_registers);
        _status = Ready | SeekComplete;
        _irq.Put(false);
    }

    private byte Status(bool alternate)
    {
        byte status;
        lock (_lock)
        {
            status = Drive == null ? (byte)0 : _status;
            if (!alternate)
            {
                _irq.Put(false);
            }
        }

        _irq.Publish();
        return status;
    }

    private void WriteControl(byte value)
    {
        lock (_lock)
        {
            bool resets = (value & SoftwareReset) != 0;
            if (resets)
            {
                ResetDrives();
                _status = Busy;
            }
            else if ((_control & SoftwareReset) != 0)
            {
                ResetDrives();
            }

            _control = value;
        }

        _irq.Publish();
    }

    private byte ReadRegister(int register)
    {
        if (register == 7)
        {
            return Status(alternate: false);
        }

        lock (_lock)
        {
            if (_drives[0] == null && _drives[1] == null)
            {
                return 0xFF;
            }

            // The high-order bit of device control shows what was written before.
            int shift = (_control & 0x80) != 0 ? 8 : 0;
            return register switch
            {
                1 => _registers.Error,
                2 => (byte)(_registers.Count >> shift),
                3 => (byte)(_registers.Low >> shift),
                4 => (byte)(_registers.Middle >> shift),
                5 => (byte)(_registers.High >> shift),
                _ => (byte)(_registers.Device | 0xA0),
            };
        }
    }

    private void WriteRegister(int register, byte value)
    {
        lock (_lock)
        {
            switch (register)
            {
                case 1:
                    _registers.Features = Push(_registers.Features, value);
                    break;
                case 2:
                    _registers.Count = Push(_registers.Count, value);
                    break;
                case 3:
                    _registers.Low = Push(_registers.Low, value);
                    break;
                case 4:
                    _registers.Middle = Push(_registers.Middle, value);
                    break;
                case 5:
                    _registers.High = Push(_registers.High, value);
                    break;
                case 6:
                    _registers.Device = value;
                    break;
                default:
                    Begin(value);
                    break;
            }
        }

        _irq.Publish();

        static ushort Push(ushort register, byte value) => (ushort)(register << 8 | value);
    }

    private void Begin(byte command)
    {
        if (command == ExecuteDiagnostic)
        {
            ResetDrives();
            Interrupt();
            return;
        }

        if (Drive is { } drive)
        {
            _registers.Error = 0;
            Enter(drive.Begin(command, _registers, _buffer, out _length), first: true);
        }
    }

    private void Enter(AtaPhase phase, bool first)
    {
        _phase = phase;
        _position = 0;
        switch (phase)
        {
            case AtaPhase.Done:
                _status = Ready | SeekComplete;
                Interrupt();
                break;
            case AtaPhase.Failed:
                _status = Ready | SeekComplete | ErrorBit;
                Interrupt();
                break;
            case AtaPhase.Packet:
                _length = 12;
                _status = Ready | SeekComplete | DataRequest;
                break;
            default:
                // The first block to the drive is asked for without an interrupt (ATA/ATAPI-6, 9.6).
                _status = Ready | SeekComplete | DataRequest;
                if (phase == AtaPhase.DataIn || !first)
                {
                    Interrupt();
                }

                break;
        }
    }

    private void Interrupt()
    {
        _irq.Put(false);
        _irq.Put((_control & NoInterrupt) == 0);
    }

    private void ReadData(Span<byte> data)
    {
        lock (_lock)
        {
            if (_phase != AtaPhase.DataIn)
            {
                return;
            }

            int count = Math.Min(data.Length, _length - _position);
            _buffer.AsSpan(_position, count).CopyTo(data);
            _position += count;
            ContinueTransfer();
        }

        _irq.Publish();
    }

    private void WriteData(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            if (_phase is not (AtaPhase.DataOut or AtaPhase.Packet))
            {
                return;
            }

            int count = Math.Min(data.Length, _length - _position);
            data[..count].CopyTo(_buffer.AsSpan(_position));
            _position += count;
            ContinueTransfer();
        }

        _irq.Publish();
    }

    private void ContinueTransfer()
    {
        if (_position == _length)
        {
            Enter(Drive!.Continue(_registers, _buffer, out _length), first: false);
        }
    }

    // The data register is wider than the others.
    private sealed class CommandBlock(AtaChannel channel) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            if (offset == 0)
            {
                channel.ReadData(data);
                return;
            }

            for (int i = 0; i < data.Length && offset < 8; i++, offset++)
            {
                data[i] = channel.ReadRegister((int)offset);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (offset == 0)
            {
                channel.WriteData(data);
                return;
            }

            for (int i = 0; i < data.Length && offset < 8; i++, offset++)
            {
                channel.WriteRegister((int)offset, data[i]);
            }
        }
    }
}
