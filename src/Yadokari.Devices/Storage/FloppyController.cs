using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Devices.IsaDma;
using Yadokari.Devices.Virtio;

namespace Yadokari.Devices.Storage;

/// <summary>
/// An Intel 82077AA floppy disk controller in its PC AT mode (data sheet 290166), with up to four drives. Drives answer at once; what takes
/// time, the image and DMA, is done on a thread of the controller's own, so that a command is seen to be under way. Sectors have 512 bytes
/// and no deleted marks.
/// </summary>
public sealed partial class FloppyController : IDevice
{
    /// <summary>Drives that can be connected.</summary>
    public const int MaxDrives = 4;

    /// <summary>Registers from the first port on; the one at offset 7 is <see cref="Input"/>.</summary>
    public const int RegistersLength = 6;

    // Registers, from the first port.
    private const int DigitalOutput = 2;
    private const int TapeDrive = 3;
    private const int StatusAndRate = 4;
    private const int Fifo = 5;

    // Digital output register.
    private const byte DriveSelect = 0x03;
    private const byte NotReset = 0x04;
    private const byte DmaGate = 0x08; // Lets the interrupt and the DMA request out.

    // Main status register.
    private const byte RequestForMaster = 0x80;
    private const byte ToHost = 0x40;
    private const byte NonDma = 0x20;
    private const byte Busy = 0x10;

    private const byte SoftwareReset = 0x80; // Of the data rate select register.
    private const byte RateSelect = 0x03;
    private const byte RateAfterReset = 0x02;
    private const byte DiskChange = 0x80;
    private const byte Undriven = 0x7F; // The bits of the digital input register that a controller in AT mode leaves to others.

    private readonly Lock _serving = new(); // Held by the worker while it accesses the image or guest memory. Lock order: outermost, before _lock.
    private readonly Lock _lock = new(); // Lock order: before the DMA controller's and the worker's; the interrupt line is set after it is released.
    private readonly OutputPin _irq;
    private readonly IsaDmaChannel _dma;
    private readonly FloppyDrive?[] _drives = new FloppyDrive?[MaxDrives];
    private readonly byte[] _cylinders = new byte[MaxDrives];
    private readonly byte[] _seeks = new byte[MaxDrives]; // ST0 of a completed seek, until Sense Interrupt Status reads it; 0 for none.
    private readonly QueueWorker _worker;
    private byte _output;
    private byte _tape;
    private byte _rate;
    private bool _interrupt; // What the INT pin would be without the gate.
    private int _resetSenses; // Drives whose ready change after the reset Sense Interrupt Status has not read yet.
    private bool _aborted; // A reset occurred while the worker was busy: it has to handle that before commands are accepted.
    private bool _announcesReset; // The reset has ended, and is announced once the worker is idle.

    /// <summary>Wires the controller.</summary>
    /// <param name="irq">IRQ 6. Called with no lock held.</param>
    /// <param name="dma">DMA channel 2.</param>
    /// <param name="failed">Is told of an exception on the thread that serves commands, which ends then; null to let it end the process.</param>
    /// <param name="drives">Drives from A on, null where none is connected. Not owned.</param>
    public FloppyController(IInterruptLine irq, IsaDmaChannel dma, Action<Exception>? failed, params ReadOnlySpan<FloppyDrive?> drives)
    {
        _irq = new OutputPin(irq);
        _dma = dma;
        drives.CopyTo(_drives);
        _worker = new QueueWorker("floppy", Serve, () => { }, failed);
        dma.Ready += _worker.Kick;
        Registers = new BytePorts(RegistersLength, ReadRegister, WriteRegister);
        Input = new BytePorts(1, _ => ReadInput(), (_, value) => WriteRate(value));
        Reset();
    }

    /// <summary>Registers 0 to 5, at port 3F0h.</summary>
    public IBusDevice Registers { get; }

    /// <summary>The digital input register when read, configuration control when written, at port 3F7h.</summary>
    public IBusDevice Input { get; }

    private bool Gated => (_output & DmaGate) != 0;

    private bool Held => (_output & NotReset) == 0;

    /// <summary>The state after power-on: held in reset. Waits for the worker to become idle; not on the worker's thread.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _output = 0;
            _tape = 0;
            _rate = RateAfterReset;
            Array.Clear(_cylinders);
            _locked = false;
            _specify1 = _specify2 = _perpendicular = _lastSector = 0;
            Abort();
        }

        _irq.Publish();
        lock (_serving)
        {
        }
    }

    /// <inheritdoc/>
    public string Name => "floppy";

    /// <inheritdoc/>
    public void Pause() => _worker.Pause();

    /// <inheritdoc/>
    public void Resume() => _worker.Resume();

    /// <summary>Ends what is under way, and the worker. No vCPU may run guest code any more.</summary>
    public void Dispose()
    {
        _dma.Ready -= _worker.Kick;
        _worker.Stop(() => { });
        _worker.Join();
    }

    private byte ReadRegister(int register)
    {
        byte value = byte.MaxValue; // Status registers A and B are not there in AT mode.
        lock (_lock)
        {
            switch (register)
            {
                case DigitalOutput:
                    return _output;
                case TapeDrive:
                    return (byte)(_tape | 0xFC);
                case StatusAndRate:
                    return Status();
                case Fifo:
                    value = ReadData();
                    break;
            }
        }

        _irq.Publish();
        return value;
    }

    private void WriteRegister(int register, byte value)
    {
        lock (_lock)
        {
            switch (register)
            {
                case DigitalOutput:
                    WriteOutput(value);
                    break;
                case TapeDrive:
                    _tape = (byte)(value & 0x03);
                    break;
                case StatusAndRate:
                    _rate = (byte)(value & RateSelect);
                    if ((value & SoftwareReset) != 0 && !Held)
                    {
                        Abort(); // The bit clears itself.
                        EndReset();
                    }

                    break;
                case Fifo:
                    WriteData(value);
                    break;
            }
        }

        _irq.Publish();
    }

    private void WriteOutput(byte value)
    {
        bool wasHeld = Held;
        _output = value;
        if (Held)
        {
            Abort();
        }
        else if (wasHeld)
        {
            EndReset();
        }

        _irq.Put(_interrupt && Gated);
        if (_phase == Phase.Execution && Gated)
        {
            _worker.Kick();
        }
    }

    private byte ReadInput()
    {
        lock (_lock)
        {
            return (byte)(Undriven | (_drives[_output & DriveSelect]?.Changed == true ? DiskChange : 0));
        }
    }

    private void WriteRate(byte value)
    {
        lock (_lock)
        {
            _rate = (byte)(value & RateSelect);
        }
    }

    private byte Status()
    {
        if (Held || _aborted)
        {
            return 0;
        }

        int status = _phase switch
        {
            Phase.Command => RequestForMaster | (_length > 0 ? Busy : 0),
            Phase.Result => RequestForMaster | ToHost | Busy,
            _ => Busy | (_byHost ? NonDma : 0) | (RequestsMaster ? RequestForMaster | (_reads ? ToHost : 0) : 0),
        };
        for (int drive = 0; drive < MaxDrives; drive++)
        {
            status |= _seeks[drive] != 0 ? 1 << drive : 0;
        }

        return (byte)status;
    }

    // Begins a reset (data sheet, 4): the command that is under way ends, FIFO and configuration are as after power-on unless they are locked.
    private void Abort()
    {
        _phase = Phase.Command;
        _length = 0;
        Array.Clear(_seeks);
        _resetSenses = 0;
        _announcesReset = false;
        _configuration = _locked ? (byte)(_configuration & (FifoDisabled | FifoThreshold)) : FifoDisabled;
        _precompensation = _locked ? _precompensation : (byte)0;
        _perpendicular &= 0x3C;
        _aborted = _task != Work.None;
        _dma.Withdraw();
        Lower();
    }

    private void EndReset()
    {
        _announcesReset = true;
        if (!_aborted)
        {
            AnnounceReset();
        }
    }

    // Polling finds that the ready line of each of the four drives changed (data sheet, 7.4).
    private void AnnounceReset()
    {
        _announcesReset = false;
        _resetSenses = MaxDrives;
        Raise();
    }

    // An edge even if the one before was not acknowledged.
    private void Raise()
    {
        _interrupt = true;
        _irq.Put(false);
        _irq.Put(Gated);
    }

    private void Lower()
    {
        _interrupt = false;
        _irq.Put(false);
    }
}
