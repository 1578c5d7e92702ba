using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// A console device (virtio 1.2, 5.3): either one console with a size, or named ports, which programs in the guest open as character devices. A
/// console is a device of its own, with its size in configuration space: in the multiport message VIRTIO_CONSOLE_RESIZE Linux and the
/// specification disagree on the order of rows and columns.
/// </summary>
public sealed class VirtioConsole : VirtioDevice
{
    /// <summary>The maximum number of ports of a device.</summary>
    public const int MaxPorts = 16;

    /// <summary>The maximum length of a port's name, in bytes of UTF-8.</summary>
    public const int MaxNameLength = 64;

    // Features (5.3.3).
    private const ulong HasSize = 1 << 0;
    private const ulong SeveralPorts = 1 << 1;
    private const ulong EmergencyWrite = 1 << 2;

    // Configuration (5.3.4).
    private const int ColumnsOffset = 0;
    private const int RowsOffset = 2;
    private const int PortsOffset = 4;
    private const int EmergencyOffset = 8;

    // Queues: two for each port; the two control queues follow those of port 0 (5.3.2).
    private const int ControlReceive = 2;
    private const int ControlTransmit = 3;
    private const ushort Entries = 128;

    // Control messages (5.3.6.2).
    private const int MessageSize = 8;
    private const ushort DeviceReady = 0;
    private const ushort DeviceAdd = 1;
    private const ushort PortReady = 3;
    private const ushort PortOpen = 6;
    private const ushort PortName = 7;

    private readonly Lock _lock = new(); // Innermost: guards the configuration, and each port's pending messages and open state.
    private readonly byte[] _config = new byte[12];
    private readonly Port[] _ports;
    private readonly bool _named;
    private bool _hasToldSize; // Owned by the thread of queue 0.

    private VirtioConsole(string name, Port[] ports, bool named)
    {
        Name = name;
        _ports = ports;
        (_named, _hasToldSize) = (named, named);
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(PortsOffset), (uint)ports.Length);
        QueueSizes = [.. Enumerable.Repeat(Entries, named ? 2 * (ports.Length + 1) : 2)];
        for (int i = 0; i < ports.Length; i++)
        {
            int number = i;
            ports[i].Host.Ready = () => OnReady(number);
        }
    }

    /// <summary>Control messages that are pending for a port, in the order in which they are sent.</summary>
    [Flags]
    private enum PendingMessages
    {
        None = 0,
        Add = 1,
        Name = 2,
        Open = 4,
    }

    /// <summary>Creates a console. Does not own <paramref name="host"/>.</summary>
    public static VirtioConsole Console(IPortHost host) => new("console", [new Port(host, [])], named: false);

    /// <summary>Creates a multiport device. Does not own the hosts' ends.</summary>
    /// <param name="ports">1 to <see cref="MaxPorts"/>, each with a name of 1 to <see cref="MaxNameLength"/> bytes.</param>
    public static VirtioConsole Ports(IReadOnlyList<(string Name, IPortHost Host)> ports) =>
        new("ports", [.. ports.Select(p => new Port(p.Host, Encoding.UTF8.GetBytes(p.Name)))], named: true);

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override ushort Type => 3;

    /// <inheritdoc/>
    public override uint ClassCode => 0x07_80_00;

    /// <inheritdoc/>
    public override ulong Features => _named ? SeveralPorts | EmergencyWrite : HasSize | EmergencyWrite;

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; }

    /// <inheritdoc/>
    public override int ConfigSize => _config.Length;

    private bool IsNamed => (Accepted & SeveralPorts) != 0;

    /// <summary>Sets the size of the console in characters, and notifies the guest. Any thread.</summary>
    public void Resize(int rows, int columns)
    {
        lock (_lock)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(ColumnsOffset), (ushort)Math.Clamp(columns, 0, ushort.MaxValue));
            BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(RowsOffset), (ushort)Math.Clamp(rows, 0, ushort.MaxValue));
        }

        ConfigChanged?.Invoke();
    }

    /// <inheritdoc/>
    public override void ReadConfig(int offset, Span<byte> data)
    {
        lock (_lock)
        {
            CopyConfig(_config, offset, data);
        }
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        if (offset == EmergencyOffset && !data.IsEmpty)
        {
            // Emergency write: a character from a driver without queues. Does not block: without room in the host's buffer it is dropped.
            _ports[0].Host.Write(data[..1]);
        }
    }

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        if (IsNamed && number is ControlReceive or ControlTransmit)
        {
            return number == ControlReceive ? SendControl(queue, chain, notifyDriver) : ReceiveControl(queue, chain, notifyDriver);
        }

        if (!IsNamed && number >= ControlReceive)
        {
            return false; // Without VIRTIO_CONSOLE_F_MULTIPORT there are no such queues.
        }

        if (number == 0 && !_hasToldSize)
        {
            // Linux reads the size only on a configuration change interrupt (6.1, drivers/char/virtio_console.c).
            _hasToldSize = true;
            ConfigChanged?.Invoke();
        }

        int port = number < ControlReceive ? 0 : (number / 2) - 1;
        return number % 2 == 0 ? FromHost(_ports[port], queue, chain, notifyDriver) : ToHost(_ports[port], queue, chain, notifyDriver);
    }

    /// <inheritdoc/>
    public override void Stop()
    {
        lock (_lock)
        {
            Array.ForEach(_ports, p => p.Reset());
            _hasToldSize = _named;
        }
    }

    private static int ReceiveQueue(int port) => port == 0 ? 0 : 2 * (port + 1);

    private void OnReady(int number)
    {
        Port port = _ports[number];
        lock (_lock)
        {
            if (port.IsReady && port.Host.IsConnected != port.ToldConnected)
            {
                port.PendingMessages |= PendingMessages.Open;
            }
        }

        Wake?.Invoke(ReceiveQueue(number));
        Wake?.Invoke(ReceiveQueue(number) + 1);
        if (_named)
        {
            Wake?.Invoke(ControlReceive);
        }
    }

    // Host data is read only once the guest has opened the port: until then it stays in the host's buffer (backpressure).
    private bool FromHost(Port port, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        while (true)
        {
            if (port.Given == port.Count)
            {
                (port.Given, port.Count) = (0, IsOpen(port) ? port.Host.Read(port.Input) : 0);
            }

            if (port.Count == 0)
            {
                return false;
            }

            if (!queue.TryPop(chain))
            {
                return true;
            }

            int count = chain.Write(0, port.Input.AsSpan(port.Given, port.Count - port.Given));
            port.Given += count;
            queue.Push(chain, (uint)count);
            notifyDriver();
        }
    }

    // A request that the host's buffer has no room for stays in flight; it belongs to its queue's thread.
    private static bool ToHost(Port port, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        while (port.Holds || queue.TryPop(chain))
        {
            int length;
            while ((length = chain.Read(port.Sent, port.Output)) > 0)
            {
                int taken = port.Host.Write(port.Output.AsSpan(0, length));
                port.Sent += taken;
                if (taken < length)
                {
                    port.Holds = true;
                    return false;
                }
            }

            (port.Holds, port.Sent) = (false, 0);
            queue.Push(chain, 0);
            notifyDriver();
        }

        return true;
    }

    private bool IsOpen(Port port)
    {
        lock (_lock)
        {
            return !IsNamed || port.IsOpen;
        }
    }

    private bool ReceiveControl(Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        Span<byte> message = stackalloc byte[MessageSize];
        while (queue.TryPop(chain))
        {
            if (chain.Read(0, message) == MessageSize)
            {
                HandleControl(BinaryPrimitives.ReadUInt32LittleEndian(message), BinaryPrimitives.ReadUInt16LittleEndian(message[4..]), BinaryPrimitives.ReadUInt16LittleEndian(message[6..]));
            }

            queue.Push(chain, 0);
            notifyDriver();
        }

        return true;
    }

    private void HandleControl(uint number, ushort what, ushort value)
    {
        bool any = number < (uint)_ports.Length;
        lock (_lock)
        {
            switch (what)
            {
                case DeviceReady when value == 1:
                    Array.ForEach(_ports, p => p.PendingMessages |= PendingMessages.Add);
                    break;
                case PortReady when any && value == 1:
                    _ports[number].IsReady = true;
                    _ports[number].PendingMessages |= PendingMessages.Name | (_ports[number].Host.IsConnected ? PendingMessages.Open : 0);
                    break;
                case PortOpen when any:
                    _ports[number].IsOpen = value != 0;
                    break;
            }
        }

        Wake?.Invoke(ControlReceive);
        if (what == PortOpen && any)
        {
            Wake?.Invoke(ReceiveQueue((int)number));
        }
    }

    private bool SendControl(Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        Span<byte> message = stackalloc byte[MessageSize + MaxNameLength];
        while (IsAnythingPending())
        {
            if (!queue.TryPop(chain))
            {
                return true;
            }

            queue.Push(chain, (uint)chain.Write(0, message[..TakePendingMessage(message)]));
            notifyDriver();
        }

        return false;
    }

    private bool IsAnythingPending()
    {
        lock (_lock)
        {
            return Array.Exists(_ports, p => p.PendingMessages != 0);
        }
    }

    // Only the thread of the control receive queue removes pending messages: a message seen by IsAnythingPending is still there.
    private int TakePendingMessage(Span<byte> message)
    {
        lock (_lock)
        {
            int number = Array.FindIndex(_ports, p => p.PendingMessages != 0);
            Port port = _ports[number];
            PendingMessages pending = port.PendingMessages & (PendingMessages)(-(int)port.PendingMessages);
            port.PendingMessages &= ~pending;
            ushort what = pending switch
            {
                PendingMessages.Add => DeviceAdd,
                PendingMessages.Name => PortName,
                _ => PortOpen,
            };
            if (pending == PendingMessages.Open)
            {
                port.ToldConnected = port.Host.IsConnected;
            }

            BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)number);
            BinaryPrimitives.WriteUInt16LittleEndian(message[4..], what);
            BinaryPrimitives.WriteUInt16LittleEndian(message[6..], (ushort)(pending == PendingMessages.Open && !port.ToldConnected ? 0 : 1));
            if (pending != PendingMessages.Name)
            {
                return MessageSize;
            }

            port.Name.CopyTo(message[MessageSize..]);
            return MessageSize + port.Name.Length;
        }
    }

    /// <summary>State of a port.</summary>
    private sealed class Port(IPortHost host, byte[] name)
    {
        private const int Piece = 4096;

        public IPortHost Host => host;

        public byte[] Name => name;

        // Each field belongs to the thread of one of the port's two queues.
        public readonly byte[] Input = new byte[Piece];
        public readonly byte[] Output = new byte[Piece];
        public int Count;
        public int Given;
        public long Sent;
        public bool Holds;

        // Under the device's lock.
        public PendingMessages PendingMessages;
        public bool IsReady;
        public bool IsOpen;
        public bool ToldConnected;

        public void Reset() => (Count, Given, Sent, Holds, PendingMessages, IsReady, IsOpen, ToldConnected) = (0, 0, 0, false, PendingMessages.None, false, false, false);
    }
}
