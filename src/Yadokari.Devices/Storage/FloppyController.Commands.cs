namespace Yadokari.Devices.Storage;

/// <content>Commands and what they answer (data sheet 290166, 5).</content>
public sealed partial class FloppyController
{
    // Commands: the lower five bits of the first byte.
    private const int ReadTrack = 0x02;
    private const int Specify = 0x03;
    private const int SenseDriveStatus = 0x04;
    private const int WriteSectors = 0x05;
    private const int ReadSectors = 0x06;
    private const int Recalibrate = 0x07;
    private const int SenseInterruptStatus = 0x08;
    private const int WriteDeleted = 0x09;
    private const int ReadId = 0x0A;
    private const int ReadDeleted = 0x0C;
    private const int FormatTrack = 0x0D;
    private const int DumpRegisters = 0x0E;
    private const int Seek = 0x0F;
    private const int Version = 0x10;
    private const int PerpendicularMode = 0x12;
    private const int Configure = 0x13;
    private const int LockConfiguration = 0x14;
    private const int Verify = 0x16;

    // The upper three bits.
    private const byte MultiTrack = 0x80;
    private const byte Relative = 0x80; // Of seek.
    private const byte LockBit = 0x80; // Of lock.
    private const byte Mfm = 0x40;
    private const byte Inwards = 0x40; // Of relative seek.
    private const byte SkipDeleted = 0x20;

    // Status register 0.
    private const byte AbnormalEnd = 0x40;
    private const byte InvalidCommand = 0x80;
    private const byte ReadyChanged = 0xC0;
    private const byte SeekEnd = 0x20;
    private const byte EquipmentCheck = 0x10;

    // Status register 1.
    private const byte EndOfCylinder = 0x80;
    private const byte DataError = 0x20;
    private const byte NoData = 0x04;
    private const byte NotWritable = 0x02;
    private const byte MissingAddressMark = 0x01;

    // Status register 2.
    private const byte ControlMark = 0x40;
    private const byte DataErrorInData = 0x20;
    private const byte WrongCylinder = 0x10;

    // Status register 3.
    private const byte WriteProtected = 0x40;
    private const byte AlwaysSet = 0x28;
    private const byte Track0 = 0x10;

    // Configure, second byte.
    private const byte ImpliedSeek = 0x40;
    private const byte FifoDisabled = 0x20;
    private const byte FifoThreshold = 0x0F;

    private const byte ByHost = 0x01; // Specify, last byte: no DMA.
    private const byte HeadSelect = 0x04;
    private const byte VersionOf82077 = 0x90;
    private const byte SizeCode = 2; // 512 bytes.
    private const int MaxSteps = 79; // Of recalibrate.

    private readonly byte[] _command = new byte[9];
    private readonly byte[] _result = new byte[10];
    private Phase _phase;
    private int _length; // Bytes of the command so far, or of the result.
    private int _position; // Bytes of the result, or of a unit of data, so far.
    private byte _specify1;
    private byte _specify2;
    private byte _configuration;
    private byte _precompensation;
    private byte _perpendicular;
    private byte _lastSector; // The last EOT, or sectors of a track, that a command named.
    private bool _locked;
    private byte _passing; // The sector that last passed under the heads.

    private enum Phase
    {
        Command,
        Execution,
        Result,
    }

    private int Opcode => _command[0] & 0x1F;

    private int Drive => _command[1] & DriveSelect;

    private int Side => (_command[1] & HeadSelect) >> 2;

    private byte ReadData()
    {
        if (Held || _aborted)
        {
            return byte.MaxValue;
        }

        if (_phase == Phase.Execution)
        {
            return RequestsMaster && _reads ? GiveByte() : byte.MaxValue;
        }

        if (_phase != Phase.Result)
        {
            return byte.MaxValue;
        }

        if (_position == 0)
        {
            Lower();
        }

        byte value = _result[_position++];
        if (_position == _length)
        {
            Await();
            if (Array.Exists(_seeks, s => s != 0))
            {
                Raise();
            }
        }

        return value;
    }

    private void WriteData(byte value)
    {
        if (Held || _aborted)
        {
            return;
        }

        if (_phase == Phase.Execution)
        {
            if (RequestsMaster && !_reads)
            {
                TakeByte(value);
            }
        }
        else if (_phase == Phase.Command)
        {
            _command[_length++] = value;
            if (_length == CommandLength())
            {
                Execute();
            }
        }
    }

    private int CommandLength()
    {
        int flags = _command[0] & 0xE0;
        (int length, int known) = Opcode switch
        {
            ReadTrack => (9, Mfm),
            Specify => (3, 0),
            SenseDriveStatus or Recalibrate => (2, 0),
            WriteSectors or WriteDeleted => (9, MultiTrack | Mfm),
            ReadSectors or ReadDeleted or Verify => (9, MultiTrack | Mfm | SkipDeleted),
            ReadId => (2, Mfm),
            FormatTrack => (6, Mfm),
            Seek => (3, Relative | Inwards),
            PerpendicularMode => (2, 0),
            Configure => (4, 0),
            LockConfiguration => (1, LockBit),
            _ => (1, 0),
        };
        return (flags & ~known) == 0 ? length : 1;
    }

    private void Execute()
    {
        _side = (byte)Side;
        _seekEnd = 0;
        if (CommandLength() == 1)
        {
            ExecuteShort();
            return;
        }

        switch (Opcode)
        {
            case Specify:
                (_specify1, _specify2) = (_command[1], _command[2]);
                Await();
                break;
            case SenseDriveStatus:
                bool zero = _drives[Drive] is not null && _cylinders[Drive] == 0;
                bool isProtected = _drives[Drive]?.ReadOnly == true;
                Answer((byte)(AlwaysSet | (_command[1] & 7) | (zero ? Track0 : 0) | (isProtected ? WriteProtected : 0)));
                break;
            case Recalibrate:
                MoveToTrack0();
                break;
            case Seek:
                int distance = (_command[0] & Inwards) != 0 ? _command[2] : -_command[2];
                int target = (_command[0] & Relative) != 0 ? Math.Clamp(_cylinders[Drive] + distance, 0, byte.MaxValue) : _command[2];
                Step((byte)target);
                EndSeek(SeekEnd);
                break;
            case PerpendicularMode:
                byte drives = (_command[1] & 0x80) != 0 ? _command[1] : _perpendicular;
                _perpendicular = (byte)((drives & 0x3C) | (_command[1] & 0x03));
                Await();
                break;
            case Configure:
                _configuration = (byte)(_command[2] & 0x7F);
                _precompensation = _command[3];
                Await();
                break;
            case ReadId:
                Identify();
                break;
            default:
                BeginTransfer();
                break;
        }
    }

    // Commands of a single byte, and what is none.
    private void ExecuteShort()
    {
        switch (_command[0])
        {
            case SenseInterruptStatus:
                SenseInterrupt();
                break;
            case DumpRegisters:
                Answer(
                    _cylinders[0], _cylinders[1], _cylinders[2], _cylinders[3], _specify1, _specify2, _lastSector,
                    (byte)((_locked ? LockBit : 0) | _perpendicular), _configuration, _precompensation);
                break;
            case Version:
                Answer(VersionOf82077);
                break;
            case LockConfiguration or (LockConfiguration | LockBit):
                _locked = (_command[0] & LockBit) != 0;
                Answer((byte)(_locked ? 0x10 : 0));
                break;
            default:
                Answer(InvalidCommand); // Part ID (18h) among them, which came with the 82078.
                break;
        }
    }

    private void SenseInterrupt()
    {
        int drive = Array.FindIndex(_seeks, s => s != 0);
        if (drive >= 0)
        {
            Answer(_seeks[drive], _cylinders[drive]);
            _seeks[drive] = 0;
        }
        else if (_resetSenses > 0)
        {
            drive = MaxDrives - _resetSenses--;
            Answer((byte)(ReadyChanged | drive), _cylinders[drive]);
        }
        else
        {
            Answer(InvalidCommand);
        }

        Lower();
    }

    private void MoveToTrack0()
    {
        bool far = _cylinders[Drive] > MaxSteps;
        Step((byte)(far ? _cylinders[Drive] - MaxSteps : 0));

        // Without a drive there is no track 0 to be felt.
        EndSeek(far || _drives[Drive] is null ? (byte)(AbnormalEnd | SeekEnd | EquipmentCheck) : SeekEnd);
    }

    // Moves the heads. Each step with a floppy in the drive ends the disk change signal.
    private void Step(byte cylinder)
    {
        if (_drives[Drive] is { } drive && _cylinders[Drive] != cylinder)
        {
            drive.Changed = false;
        }

        _cylinders[Drive] = cylinder;
    }

    private void EndSeek(byte status)
    {
        _seeks[Drive] = (byte)(status | Drive);
        _resetSenses = 0;
        Await();
        Raise();
    }

    private void Identify()
    {
        (_cylinder, _head, _sector, _size) = (_cylinders[Drive], _side, 1, SizeCode);
        if (!IsReadable())
        {
            End(AbnormalEnd, MissingAddressMark);
            return;
        }

        _passing = (byte)((_passing % _drives[Drive]!.Format.Sectors) + 1);
        _sector = _passing;
        End(0);
    }

    private void Await()
    {
        _phase = Phase.Command;
        _length = 0;
    }

    private void Answer(params ReadOnlySpan<byte> result)
    {
        result.CopyTo(_result);
        _phase = Phase.Result;
        _length = result.Length;
        _position = 0;
    }
}
