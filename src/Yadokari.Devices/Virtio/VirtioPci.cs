using System.Buffers.Binary;
using Yadokari.Core.Buses;
using Yadokari.Core.Devices;
using Yadokari.Core.Memory;
using Yadokari.Devices.Pci;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// The PCI transport of a virtio device (virtio 1.2, 4.1), modern only: four register groups in one memory BAR, an MSI-X vector for each queue
/// and for configuration changes, or INTx for all. Any thread.
/// </summary>
public sealed class VirtioPci : PciFunction
{
    private const ushort NoVector = 0xFFFF;

    // Device status (virtio 1.2, 2.1).
    private const byte DriverOk = 4;
    private const byte FeaturesOk = 8;
    private const byte NeedsReset = 0x40;

    // Interrupt status (4.1.4.5).
    private const byte QueueInterrupt = 1;
    private const byte ConfigInterrupt = 2;

    // Layout of the BAR: a page for each group, so that a guest can map them separately.
    private const ulong CommonOffset = 0;
    private const ulong IsrOffset = 0x1000;
    private const ulong ConfigOffset = 0x2000;
    private const ulong NotifyOffset = 0x3000;
    private const ulong MsixOffset = 0x4000;
    private const ulong RangeSize = 0x8000;
    private const uint NotifyMultiplier = 4;
    private const int CommonSize = 0x3C;

    private readonly Lock _lock = new(); // Guards the registers, the INTx level and the queues' settings. Lock order: before the PCI function's lock.
    private readonly VirtioDevice _device;
    private readonly Dma _dma;
    private readonly Action<Exception>? _failed;
    private readonly ulong _offered;
    private readonly Queue[] _queues;
    private readonly PciBar _bar;
    private readonly IBusDevice[] _groups;
    private readonly int _window;
    private uint _deviceFeatureSelect;
    private uint _driverFeatureSelect;
    private ulong _accepted;
    private ushort _configVector = NoVector;
    private ushort _selected;
    private byte _status;
    private byte _configGeneration;
    private byte _isr;
    private int _stopping; // During a reset: the number of workers that have not stopped yet, plus one for the thread that resets.
    private byte _statusAfterReset;
    private bool _disposed;
    private bool _paused;
    private bool _configChangedWhilePaused;

    /// <summary>Creates the PCI function of a device, and owns the device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="dma">Guest memory.</param>
    /// <param name="sendMsi">Sends an MSI: address and data.</param>
    /// <param name="packed">Whether to offer packed rings.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>, for the threads that serve queues.</param>
    public VirtioPci(VirtioDevice device, Dma dma, Action<ulong, uint> sendMsi, bool packed = false, Action<Exception>? failed = null)
        : base(new PciIdentity(0x1AF4, (ushort)(0x1040 + device.Type), device.ClassCode, Revision: 1, SubsystemVendor: 0x1AF4, Subsystem: (ushort)(0x1040 + device.Type)))
    {
        _device = device;
        _dma = dma;
        _failed = failed;
        _offered = device.Features | VirtioFeatures.OfAll | (packed ? VirtioFeatures.PackedRing : 0);
        _queues = [.. device.QueueSizes.Select((size, i) => new Queue(this, i, size))];
        Array.ForEach(_queues, q => q.Reset());
        device.ConfigChanged = OnConfigChanged;
        device.Wake = Kick;
        _groups = [new Common(this), new Isr(this), new Configuration(this), new Notify(this)];
        _bar = AddBar(0, PciBarKind.Memory64, RangeSize);
        string name = "virtio " + device.Name;
        _bar.Add(CommonOffset, 0x1000, name, _groups[0]);
        _bar.Add(IsrOffset, 0x1000, name, _groups[1]);
        _bar.Add(ConfigOffset, 0x1000, name, _groups[2]);
        _bar.Add(NotifyOffset, 0x1000, name, _groups[3]);
        AddPin();
        AddMsix(_bar, MsixOffset, name, new MsixTable(Math.Min(_queues.Length + 1, MsixTable.MaxMessages), sendMsi));
        AddGroup(1, CommonOffset, CommonSize);
        AddGroup(3, IsrOffset, 1);
        if (device.ConfigSize > 0)
        {
            AddGroup(4, ConfigOffset, (uint)device.ConfigSize);
        }

        AddGroup(2, NotifyOffset, NotifyMultiplier * (uint)_queues.Length, NotifyMultiplier);

        // VIRTIO_PCI_CAP_PCI_CFG: an access window to the BAR through configuration space (4.1.4.9), with writable bar, offset, length and data.
        byte[] all = new byte[18];
        all.AsSpan(2, 1).Fill(0xFF);
        all.AsSpan(6).Fill(0xFF);
        _window = AddGroup(5, 0, 0, 0, all);
    }

    /// <summary>The driver's settings of a queue and, once the driver is ready, the virtqueue and its worker.</summary>
    private sealed class Queue(VirtioPci owner, int number, ushort maxSize)
    {
        public ushort Size;
        public ushort Vector = NoVector;
        public bool Enabled;
        public QueueAddresses Addresses;
        public Virtqueue? Ring;
        public QueueWorker? Worker;
        private DescriptorChain? _chain;

        public ushort MaxSize => maxSize;

        public void Reset() => (Size, Vector, Enabled, Addresses, Ring, Worker) = (maxSize, NoVector, false, default, null, null);

        public void Start(ulong features)
        {
            Ring = Virtqueue.Create(owner._dma, Addresses, Size, features);
            if (Ring is { } ring)
            {
                _chain ??= new DescriptorChain(owner._dma);
                Action notifyDriver = () => owner.OnChainsPushed(this, ring);
                Worker = new QueueWorker($"virtio {owner._device.Name} {number}", () => Serve(ring, notifyDriver), () => owner._device.Kicked(number), owner._failed);
            }
        }

        private void Serve(Virtqueue ring, Action notifyDriver)
        {
            do
            {
                ring.DisableKicks();
            }
            while (owner._device.Process(number, ring, _chain!, notifyDriver) && ring.EnableKicks());

            if (ring.IsBroken)
            {
                owner.Fail();
            }
        }
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        StopAndWait();
        base.Reset();
    }

    /// <inheritdoc/>
    public override string Name => $"virtio-{_device.Name}";

    /// <summary>The device that it gives to the guest.</summary>
    public VirtioDevice Device => _device;

    /// <inheritdoc/>
    public override void Pause()
    {
        QueueWorker[] workers;
        lock (_lock)
        {
            _paused = true;
            workers = [.. _queues.Select(q => q.Worker).OfType<QueueWorker>()];
        }

        _device.IsPausing = true;
        Array.ForEach(workers, w => w.Pause());

        // A reset that waits for a worker is completed on the worker's thread.
        SpinWait wait = default;
        while (IsResetting())
        {
            wait.SpinOnce();
        }
    }

    /// <inheritdoc/>
    public override void Resume()
    {
        QueueWorker[] workers;
        bool changed;
        lock (_lock)
        {
            _paused = false;
            (changed, _configChangedWhilePaused) = (_configChangedWhilePaused, false);
            workers = [.. _queues.Select(q => q.Worker).OfType<QueueWorker>()];
        }

        _device.IsPausing = false;
        if (changed)
        {
            OnConfigChanged();
        }

        foreach (QueueWorker worker in workers)
        {
            worker.Resume();
            worker.Kick(); // Process may have returned early at the pause.
        }
    }

    /// <summary>Stops the workers and disposes the device. No vCPU may run guest code any more.</summary>
    protected override void Dispose(bool disposing)
    {
        lock (_lock)
        {
            _disposed = true;
        }

        StopAndWait();
        _device.Dispose();
        base.Dispose(disposing);
    }

    /// <inheritdoc/>
    protected override void BeforeRead(int offset, int length)
    {
        if (IsWindowData(offset, length) && TryReadWindow(out ulong at, out int size))
        {
            Span<byte> data = [0xFF, 0xFF, 0xFF, 0xFF];
            Group(at)?.Read(at & 0xFFF, data[..size]);
            Poke(_window + 16, data);
        }
    }

    /// <inheritdoc/>
    protected override void AfterWrite(int offset, int length)
    {
        if (IsWindowData(offset, length) && TryReadWindow(out ulong at, out int size))
        {
            Span<byte> data = stackalloc byte[4];
            Peek(_window + 16, data);
            Group(at)?.Write(at & 0xFFF, data[..size]);
        }
    }

    private bool IsWindowData(int offset, int length) => offset < _window + 20 && offset + length > _window + 16;

    private bool TryReadWindow(out ulong at, out int size)
    {
        Span<byte> window = stackalloc byte[16];
        Peek(_window, window);
        at = BinaryPrimitives.ReadUInt32LittleEndian(window[8..]);
        size = (int)BinaryPrimitives.ReadUInt32LittleEndian(window[12..]);
        return window[4] == 0 && size is 1 or 2 or 4 && at < RangeSize && at % (ulong)size == 0;
    }

    private IBusDevice? Group(ulong at) => at >> 12 is ulong group && group < (ulong)_groups.Length ? _groups[group] : null;

    // Adds the capability that locates a register group (4.1.4).
    private int AddGroup(byte type, ulong offset, uint length, uint more = 0, byte[]? writable = null)
    {
        Span<byte> body = stackalloc byte[18];
        bool hasMore = type is 2 or 5;
        body.Clear();
        body[0] = (byte)(hasMore ? 20 : 16);
        body[1] = type;
        BinaryPrimitives.WriteUInt32LittleEndian(body[6..], (uint)offset);
        BinaryPrimitives.WriteUInt32LittleEndian(body[10..], length);
        BinaryPrimitives.WriteUInt32LittleEndian(body[14..], more);
        return AddCapability(9, body[..(hasMore ? 18 : 14)], writable ?? []);
    }

    private void Kick(int number)
    {
        QueueWorker? worker;
        lock (_lock)
        {
            worker = (uint)number < (uint)_queues.Length && (_status & DriverOk) != 0 && IsBusMaster ? _queues[number].Worker : null;
        }

        worker?.Kick();
    }

    private void OnChainsPushed(Queue queue, Virtqueue ring)
    {
        if (ring.WantsInterrupt())
        {
            Interrupt(queue.Vector, QueueInterrupt);
        }
    }

    private void OnConfigChanged()
    {
        lock (_lock)
        {
            if (_paused)
            {
                _configChangedWhilePaused = true;
                return;
            }

            _configGeneration++;
        }

        Interrupt(_configVector, ConfigInterrupt);
    }

    // The driver broke a queue: DEVICE_NEEDS_RESET (2.1.2).
    private void Fail()
    {
        lock (_lock)
        {
            _status |= NeedsReset;
        }

        Interrupt(_configVector, ConfigInterrupt);
    }

    private void Interrupt(ushort vector, byte cause)
    {
        if (IsMsixEnabled)
        {
            Msix!.Signal(vector == NoVector ? -1 : vector);
            return;
        }

        lock (_lock)
        {
            _isr |= cause;
            PutPin(true);
        }

        PublishPin();
    }

    private void WriteStatus(byte value)
    {
        if (value == 0)
        {
            if (StopWorkers())
            {
                FinishReset();
            }

            return;
        }

        bool broken = false;
        List<QueueWorker> workers = [];
        lock (_lock)
        {
            if (_stopping > 0)
            {
                _statusAfterReset = value;
                return;
            }

            // The driver only sets status bits, but for a reset; the device may refuse the features by clearing FEATURES_OK (3.1.1).
            value |= _status;
            if ((value & ~_status & FeaturesOk) != 0 && ((_accepted & ~_offered) != 0 || (_accepted & VirtioFeatures.Version1) == 0))
            {
                value &= unchecked((byte)~FeaturesOk);
            }

            bool starts = !_disposed && (value & ~_status & DriverOk) != 0 && (value & FeaturesOk) != 0;
            _status = starts ? value : (byte)(value & ~(DriverOk & ~_status));
            if (starts)
            {
                broken = !TryStart(workers);
            }
        }

        // Requests may be available already.
        workers.ForEach(w => w.Kick());
        if (broken)
        {
            Fail();
        }
    }

    // Under the lock. False if the settings of a queue are invalid; the others are started.
    private bool TryStart(List<QueueWorker> workers)
    {
        bool whole = true;
        _device.Accepted = _accepted;
        foreach (Queue queue in _queues.Where(q => q.Enabled))
        {
            queue.Start(_accepted);
            whole &= queue.Ring is not null;
            if (queue.Worker is { } worker)
            {
                workers.Add(worker);
            }
        }

        return whole;
    }

    // True if all workers are idle; else the last one to stop completes the reset.
    private bool StopWorkers()
    {
        List<QueueWorker> workers;
        lock (_lock)
        {
            _statusAfterReset = 0;
            if (_stopping > 0)
            {
                return false;
            }

            workers = [.. _queues.Select(q => q.Worker).OfType<QueueWorker>()];
            _stopping = workers.Count + 2;
        }

        foreach (QueueWorker worker in workers)
        {
            if (worker.Stop(OnStopped))
            {
                HasStopped();
            }
        }

        return HasStopped();
    }

    private void OnStopped()
    {
        if (HasStopped())
        {
            FinishReset();
        }
    }

    private bool IsResetting()
    {
        lock (_lock)
        {
            return _stopping > 0;
        }
    }

    private bool HasStopped()
    {
        lock (_lock)
        {
            return --_stopping == 1;
        }
    }

    private void FinishReset()
    {
        _device.Stop();
        lock (_lock)
        {
            Array.ForEach(_queues, q => q.Reset());
            (_deviceFeatureSelect, _driverFeatureSelect, _accepted, _configVector, _selected, _isr) = (0, 0, 0, NoVector, 0, 0);
            _status = _statusAfterReset;
            _stopping = 0;
            PutPin(false);
        }

        PublishPin();
    }

    private void StopAndWait()
    {
        QueueWorker[] workers = [.. _queues.Select(q => q.Worker).OfType<QueueWorker>()];
        WriteStatus(0);
        Array.ForEach(workers, w => w.Join());
    }

    /// <summary>The registers of 4.1.4.3.</summary>
    private sealed class Common(VirtioPci owner) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            if (offset >= CommonSize)
            {
                return;
            }

            Span<byte> registers = stackalloc byte[CommonSize + 8];
            registers.Clear();
            lock (owner._lock)
            {
                Fill(registers);
            }

            registers.Slice((int)offset, data.Length).CopyTo(data);
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (offset == 20)
            {
                owner.WriteStatus(data[0]);
                return;
            }

            uint value = 0;
            for (int i = 0; i < Math.Min(data.Length, 4); i++)
            {
                value |= (uint)data[i] << (8 * i);
            }

            lock (owner._lock)
            {
                Write(offset, value);
                if (data.Length == 8)
                {
                    Write(offset + 4, BinaryPrimitives.ReadUInt32LittleEndian(data[4..]));
                }
            }
        }

        private void Fill(Span<byte> registers)
        {
            static uint Half(ulong features, uint select) => select < 2 ? (uint)(features >> (32 * (int)select)) : 0;
            BinaryPrimitives.WriteUInt32LittleEndian(registers, owner._deviceFeatureSelect);
            BinaryPrimitives.WriteUInt32LittleEndian(registers[4..], Half(owner._offered, owner._deviceFeatureSelect));
            BinaryPrimitives.WriteUInt32LittleEndian(registers[8..], owner._driverFeatureSelect);
            BinaryPrimitives.WriteUInt32LittleEndian(registers[12..], Half(owner._accepted, owner._driverFeatureSelect));
            BinaryPrimitives.WriteUInt16LittleEndian(registers[16..], owner._configVector);
            BinaryPrimitives.WriteUInt16LittleEndian(registers[18..], (ushort)owner._queues.Length);
            registers[20] = owner._status;
            registers[21] = owner._configGeneration;
            BinaryPrimitives.WriteUInt16LittleEndian(registers[22..], owner._selected);
            if (Selected is not { } queue)
            {
                return;
            }

            BinaryPrimitives.WriteUInt16LittleEndian(registers[24..], queue.Size);
            BinaryPrimitives.WriteUInt16LittleEndian(registers[26..], queue.Vector);
            BinaryPrimitives.WriteUInt16LittleEndian(registers[28..], (ushort)(queue.Enabled ? 1 : 0));
            BinaryPrimitives.WriteUInt16LittleEndian(registers[30..], owner._selected);
            BinaryPrimitives.WriteUInt64LittleEndian(registers[32..], queue.Addresses.Descriptors);
            BinaryPrimitives.WriteUInt64LittleEndian(registers[40..], queue.Addresses.Driver);
            BinaryPrimitives.WriteUInt64LittleEndian(registers[48..], queue.Addresses.Device);
        }

        private Queue? Selected => owner._selected < owner._queues.Length ? owner._queues[owner._selected] : null;

        private void Write(ulong offset, uint value)
        {
            switch (offset)
            {
                case 0:
                    owner._deviceFeatureSelect = value;
                    return;
                case 8:
                    owner._driverFeatureSelect = value;
                    return;
                case 12 when owner._driverFeatureSelect < 2 && (owner._status & FeaturesOk) == 0:
                    int shift = 32 * (int)owner._driverFeatureSelect;
                    owner._accepted = (owner._accepted & ~(0xFFFF_FFFFul << shift)) | ((ulong)value << shift);
                    return;
                case 16:
                    owner._configVector = Vector(value);
                    return;
                case 22:
                    owner._selected = (ushort)value;
                    return;
                case 26 when Selected is { } queue:
                    queue.Vector = Vector(value);
                    return;
            }

            // The addresses of an enabled queue do not change (4.1.4.3.2).
            if (Selected is not { Enabled: false } chosen)
            {
                return;
            }

            QueueAddresses old = chosen.Addresses;
            switch (offset)
            {
                case 24 when value <= chosen.MaxSize:
                    chosen.Size = (ushort)value;
                    break;
                case 28:
                    chosen.Enabled = value == 1;
                    break;
                case 32 or 36:
                    chosen.Addresses = old with { Descriptors = Put(old.Descriptors, offset, value) };
                    break;
                case 40 or 44:
                    chosen.Addresses = old with { Driver = Put(old.Driver, offset, value) };
                    break;
                case 48 or 52:
                    chosen.Addresses = old with { Device = Put(old.Device, offset, value) };
                    break;
            }
        }

        private ushort Vector(uint value) => value < owner.Msix!.Count ? (ushort)value : NoVector;

        private static ulong Put(ulong old, ulong offset, uint value) =>
            (offset & 4) == 0 ? (old & 0xFFFF_FFFF_0000_0000) | value : (old & 0xFFFF_FFFF) | ((ulong)value << 32);
    }

    private sealed class Isr(VirtioPci owner) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            if (offset != 0)
            {
                return;
            }

            data.Clear();
            lock (owner._lock)
            {
                data[0] = owner._isr;
                owner._isr = 0;
                owner.PutPin(false);
            }

            owner.PublishPin();
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
        }
    }

    private sealed class Configuration(VirtioPci owner) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data) => owner._device.ReadConfig((int)Math.Min(offset, int.MaxValue), data);

        public void Write(ulong offset, ReadOnlySpan<byte> data) => owner._device.WriteConfig((int)Math.Min(offset, int.MaxValue), data);
    }

    private sealed class Notify(VirtioPci owner) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data) => owner.Kick((int)Math.Min(offset / NotifyMultiplier, int.MaxValue));
    }
}
