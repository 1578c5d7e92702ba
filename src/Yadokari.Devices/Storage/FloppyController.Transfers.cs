namespace Yadokari.Devices.Storage;

/// <content>Commands that move data: a sector, or the ID of a sector to be formatted, at a time.</content>
public sealed partial class FloppyController
{
    private const byte EnableCount = 0x80; // Of verify, second byte: its last byte is how many sectors.
    private const int IdSize = 4;
    private const int FifoSize = 16;

    private readonly byte[] _buffer = new byte[FloppyFormat.SectorSize]; // Owned by the worker while it is busy.
    private Stage _stage;
    private Work _task; // What the worker does; it does so without the lock.
    private bool _waitsForDma; // The DREQ is pending.
    private bool _reads; // The host.
    private bool _byHost; // It moves the bytes itself.
    private bool _terminalCount; // Terminal count came with the last byte.
    private int _moved;
    private int _unit; // Bytes.
    private int _burst; // Bytes until the next interrupt.
    private int _left; // Sectors, of commands that count them.
    private int _index; // Of the sector on its track, for read track.
    private int _target; // Of the sector on the floppy.
    private byte _side; // That is under the head.
    private byte _seekEnd;
    private bool _mismatch; // Read track found another ID than it was told.
    private byte _cylinder, _head, _sector, _size; // The ID of the sector.

    private enum Stage
    {
        None,

        /// <summary>A sector is to be read from the image.</summary>
        Fetch,

        /// <summary>Bytes are to be moved from or to the host.</summary>
        Move,

        /// <summary>A sector is to be written to the image.</summary>
        Store,
    }

    private enum Work
    {
        None,
        Fetch,
        Move,
        Store,
    }

    private bool RequestsMaster => _phase == Phase.Execution && _stage == Stage.Move && _byHost;

    private bool IsMultiTrack => (_command[0] & MultiTrack) != 0;

    private bool CountsSectors => Opcode == Verify && (_command[1] & EnableCount) != 0;

    private void BeginTransfer()
    {
        _phase = Phase.Execution;
        _byHost = (_specify2 & ByHost) != 0;
        _reads = Opcode is not (WriteSectors or WriteDeleted or FormatTrack);
        _terminalCount = _waitsForDma = _mismatch = false;
        if (!_reads && _drives[Drive]?.ReadOnly == true)
        {
            (_cylinder, _head, _sector, _size) = (_cylinders[Drive], _side, 1, SizeCode);
            End(AbnormalEnd, NotWritable);
        }
        else if (Opcode == FormatTrack)
        {
            BeginFormat();
        }
        else
        {
            (_cylinder, _head, _sector, _size, _lastSector) = (_command[2], _command[3], _command[4], _command[5], _command[6]);
            _left = _command[8] == 0 ? 256 : _command[8];
            _index = 1;
            _unit = FloppyFormat.SectorSize;
            if ((_configuration & ImpliedSeek) != 0)
            {
                _seekEnd = SeekEnd;
                Step(_cylinder);
            }

            Locate();
        }

        _worker.Kick();
    }

    // N, sectors of a track, gap, filler. An image holds its own format and no other.
    private void BeginFormat()
    {
        (_cylinder, _head, _sector, _size) = (_cylinders[Drive], _side, 1, _command[2]);
        _left = _lastSector = _command[3];
        _unit = IdSize;
        if (!IsReadable() || _size != SizeCode || _left > _drives[Drive]!.Format.Sectors)
        {
            End(AbnormalEnd, NotWritable);
        }
        else if (_left == 0)
        {
            End(0);
        }
        else
        {
            BeginMove();
        }
    }

    // Whether the heads find anything there.
    private bool IsReadable() => _drives[Drive] is { } drive && (_command[0] & Mfm) != 0 && (drive.Format.Rates >> _rate & 1) != 0
        && _side < drive.Format.Heads && _cylinders[Drive] < drive.Format.Cylinders;

    // Finds the sector that the ID names, and what comes first of it.
    private void Locate()
    {
        if (!IsReadable())
        {
            End(AbnormalEnd, MissingAddressMark);
            return;
        }

        FloppyFormat format = _drives[Drive]!.Format;
        bool wrongCylinder = _cylinder != _cylinders[Drive];
        bool found = !wrongCylinder && _head == _side && _size == SizeCode && _sector >= 1 && _sector <= format.Sectors;
        if (Opcode == ReadTrack && _index <= format.Sectors)
        {
            _mismatch |= !found || _sector != _index;
        }
        else if (!found || Opcode == ReadTrack)
        {
            End(AbnormalEnd, NoData, wrongCylinder ? WrongCylinder : (byte)0);
            return;
        }
        else if (Opcode == ReadDeleted && (_command[0] & SkipDeleted) != 0)
        {
            End(AbnormalEnd, EndOfCylinder, ControlMark); // All sectors up to the last one are skipped.
            return;
        }

        _target = SectorAt(Opcode == ReadTrack ? _index : _sector);
        if (_reads)
        {
            _stage = Stage.Fetch;
        }
        else
        {
            BeginMove();
        }
    }

    private int SectorAt(int number)
    {
        FloppyFormat format = _drives[Drive]!.Format;
        return (((_cylinders[Drive] * format.Heads) + _side) * format.Sectors) + number - 1;
    }

    private void BeginMove()
    {
        _stage = Stage.Move;
        _position = 0;
        if (_byHost)
        {
            BeginBurst();
        }
    }

    // The FIFO asks for the host when it is full, or empty, but for its threshold.
    private void BeginBurst()
    {
        int threshold = (_configuration & FifoThreshold) + 1;
        _burst = (_configuration & FifoDisabled) != 0 ? 1 : Math.Max(1, FifoSize - threshold);
        Raise();
    }

    private byte GiveByte()
    {
        byte value = _buffer[_position++];
        Continue();
        return value;
    }

    private void TakeByte(byte value)
    {
        _buffer[_position++] = value;
        Continue();
    }

    private void Continue()
    {
        if (_position < _unit)
        {
            if (--_burst == 0)
            {
                BeginBurst();
            }

            return;
        }

        Lower();
        EndMove();
        _worker.Kick();
    }

    private void EndMove()
    {
        if (_reads)
        {
            EndSector();
        }
        else if (Opcode != FormatTrack)
        {
            _buffer.AsSpan(_position).Clear(); // Of a sector that terminal count cut short.
            _stage = Stage.Store;
        }
        else if (_position < IdSize)
        {
            End(0);
        }
        else
        {
            (_cylinder, _head, _sector, _size) = (_buffer[0], _buffer[1], _buffer[2], _buffer[3]);
            if (_cylinder != _cylinders[Drive] || _head != _side || _size != SizeCode || _sector == 0 || _sector > _drives[Drive]!.Format.Sectors)
            {
                End(AbnormalEnd, NotWritable);
                return;
            }

            _target = SectorAt(_sector);
            _buffer.AsSpan().Fill(_command[5]);
            _stage = Stage.Store;
        }
    }

    private void EndSector()
    {
        switch (Opcode)
        {
            case FormatTrack:
                if (--_left == 0 || _terminalCount)
                {
                    End(0);
                }
                else
                {
                    BeginMove();
                }

                return;
            case ReadDeleted:
                End(0, 0, ControlMark); // It was no deleted one: the next is not looked for.
                return;
            case ReadTrack:
                if (_terminalCount || _index >= _lastSector)
                {
                    End(_mismatch ? AbnormalEnd : (byte)0, _mismatch ? NoData : (byte)0);
                    return;
                }

                _index++;
                _sector++;
                Locate();
                return;
        }

        bool all = _terminalCount || (CountsSectors && --_left == 0);
        bool isLast = _sector == _lastSector && !(IsMultiTrack && _side == 0);
        _side = _sector == _lastSector && !all && !isLast ? (byte)1 : _side;
        Increment();
        if (all)
        {
            End(0);
        }
        else if (isLast)
        {
            // Without terminal count only the end of the cylinder ends a transfer; Verify needs no terminal count.
            bool checkedAll = Opcode == Verify && !CountsSectors;
            End(checkedAll ? (byte)0 : AbnormalEnd, checkedAll ? (byte)0 : EndOfCylinder);
        }
        else
        {
            Locate();
        }
    }

    // The ID of the sector that comes next (data sheet, table 5-5).
    private void Increment()
    {
        if (_sector != _lastSector)
        {
            _sector++;
            return;
        }

        _sector = 1;
        if (!IsMultiTrack || (_head & 1) != 0)
        {
            _cylinder++;
        }

        if (IsMultiTrack)
        {
            _head ^= 1;
        }
    }

    private void End(byte status0, byte status1 = 0, byte status2 = 0)
    {
        _stage = Stage.None;
        _dma.Withdraw();
        Answer((byte)(status0 | _seekEnd | (_side << 2) | Drive), status1, status2, _cylinder, _head, _sector, _size);
        Raise();
    }

    // The worker: one piece of work after another, each without the lock.
    private void Serve()
    {
        lock (_lock)
        {
            _waitsForDma = false; // The kick may come from the DMA channel.
        }

        while (ServeOnce())
        {
            _irq.Publish();
        }

        _irq.Publish();
    }

    private bool ServeOnce()
    {
        lock (_serving)
        {
            lock (_lock)
            {
                _task = Plan();
                if (_task == Work.None)
                {
                    return false;
                }
            }

            bool succeeded = Perform();
            lock (_lock)
            {
                Work task = _task;
                _task = Work.None;
                if (!_aborted)
                {
                    Complete(task, succeeded);
                    return true;
                }

                _aborted = false;
                if (_announcesReset)
                {
                    AnnounceReset();
                }

                return true;
            }
        }
    }

    private Work Plan() => _phase != Phase.Execution ? Work.None : _stage switch
    {
        Stage.Fetch => Work.Fetch,
        Stage.Store => Work.Store,
        Stage.Move when !_byHost && !_waitsForDma && Gated => Work.Move,
        _ => Work.None,
    };

    // No other thread changes the state that it uses: no command is accepted before it is idle, not even after a reset.
    private bool Perform()
    {
        FloppyDrive drive = _drives[Drive]!;
        switch (_task)
        {
            case Work.Fetch:
                return drive.TryRead(_target, _buffer);
            case Work.Store:
                return drive.TryWrite(_target, _buffer);
            default:
                Span<byte> rest = _buffer.AsSpan(_position, _unit - _position);
                _moved = _reads ? _dma.Write(rest, out _terminalCount) : _dma.Read(rest, out _terminalCount);
                return true;
        }
    }

    private void Complete(Work task, bool succeeded)
    {
        switch (task)
        {
            case Work.Fetch when !succeeded:
                End(AbnormalEnd, DataError, DataErrorInData);
                break;
            case Work.Fetch when Opcode == Verify:
                EndSector();
                break;
            case Work.Fetch:
                BeginMove();
                break;
            case Work.Store when !succeeded:
                End(AbnormalEnd | EquipmentCheck);
                break;
            case Work.Store:
                EndSector();
                break;
            default:
                _position += _moved;
                if (_terminalCount || _position == _unit)
                {
                    EndMove();
                }
                else
                {
                    _waitsForDma = true;
                }

                break;
        }
    }
}
