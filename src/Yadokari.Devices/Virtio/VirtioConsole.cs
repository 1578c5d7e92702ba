using System.Buffers.Binary;
using System.Text;
using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// Bytes between guest and host (virtio 1.2, 5.3): a console whose size the guest knows, or ports by name, which programs in the guest open as
/// they would files. A console is a device of its own: what tells a port among several of its size has rows and columns in another order in
/// Linux than in the specification, and configuration space has not.
/// </summary>
public sealed class VirtioConsole : VirtioDevice
{
    /// <summary>The most ports of a device.</summary>
    public const int MostPorts = 16;

    /// <summary>The most bytes of a port's name, in UTF-8.</summary>
    public const int LongestName = 64;

    // Features (5.3.3).
    private const ulong HasSize = 1 << 0;
    private const ulong SeveralPorts = 1 << 1;
    private const ulong EmergencyWrite = 1 << 2;

    // Configuration (5.3.4).
    private const int ColumnsOffset = 0;
    private const int RowsOffset = 2;
    private const int PortsOffset = 4;
    private const int EmergencyOffset = 8;

    // Queues: two for each port, and between those of the first and of the second two for control messages (5.3.2).
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

    private readonly Lock _lock = new(); // Innermost: guards the configuration, and of ports what the guest is still to be told and whether it is open.
    private readonly byte[] _config = new byte[12];
    private readonly Port[] _ports;
    private readonly bool _named;
    private bool _hasToldSize; // The first queue's thread has it.

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

    /// <summary>A part of what the guest is still to be told of a port, in the order of telling.</summary>
    [Flags]
    private enum Due
    {
        None = 0,
        Add = 1,
        Name = 2,
        Open = 4,
    }

    /// <summary>Makes a console. The host's end stays the caller's.</summary>
    public static VirtioConsole Console(IPortHost host) => new("console", [new Port(host, [])], named: false);

    /// <summary>Makes a device of ports. The host's ends stay the caller's.</summary>
    /// <param name="ports">1 to <see cref="MostPorts"/>, each with a name of 1 to <see cref="LongestName"/> bytes.</param>
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

    /// <summary>Tells the guest of a console's size, in characters. Any thread.</summary>
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
            // A character from a driver that has no queue yet, or none any more. There is no waiting: what has no room is gone.
            _ports[0].Host.Write(data[..1]);
        }
    }

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned)
    {
        if (IsNamed && number is ControlReceive or ControlTransmit)
        {
            return number == ControlReceive ? SendMessages(queue, chain, returned) : TakeMessages(queue, chain, returned);
        }

        if (!IsNamed && number >= ControlReceive)
        {
            return false; // For a driver that knows of one port alone there are no such queues.
        }

        if (number == 0 && !_hasToldSize)
        {
            // Linux asks for the size only when it hears of a change (6.1, drivers/char/virtio_console.c).
            _hasToldSize = true;
            ConfigChanged?.Invoke();
        }

        int port = number < ControlReceive ? 0 : (number / 2) - 1;
        return number % 2 == 0 ? FromHost(_ports[port], queue, chain, returned) : ToHost(_ports[port], queue, chain, returned);
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
                port.Due |= Due.Open;
            }
        }

        Wake?.Invoke(ReceiveQueue(number));
        Wake?.Invoke(ReceiveQueue(number) + 1);
        if (_named)
        {
            Wake?.Invoke(ControlReceive);
        }
    }

    // Nothing is read from the host before the guest listens: until then it waits where it came from.
    private bool FromHost(Port port, Virtqueue queue, DescriptorChain chain, Action returned)
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

            if (!queue.TryTake(chain))
            {
                return true;
            }

            int count = chain.Write(0, port.Input.AsSpan(port.Given, port.Count - port.Given));
            port.Given += count;
            queue.Return(chain, (uint)count);
            returned();
        }
    }

    // A request that the host has no room for stays with its queue, whose it is alone.
    private static bool ToHost(Port port, Virtqueue queue, DescriptorChain chain, Action returned)
    {
        while (port.Holds || queue.TryTake(chain))
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
            queue.Return(chain, 0);
            returned();
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

    private bool TakeMessages(Virtqueue queue, DescriptorChain chain, Action returned)
    {
        Span<byte> message = stackalloc byte[MessageSize];
        while (queue.TryTake(chain))
        {
            if (chain.Read(0, message) == MessageSize)
            {
                Obey(BinaryPrimitives.ReadUInt32LittleEndian(message), BinaryPrimitives.ReadUInt16LittleEndian(message[4..]), BinaryPrimitives.ReadUInt16LittleEndian(message[6..]));
            }

            queue.Return(chain, 0);
            returned();
        }

        return true;
    }

    private void Obey(uint number, ushort what, ushort value)
    {
        bool any = number < (uint)_ports.Length;
        lock (_lock)
        {
            switch (what)
            {
                case DeviceReady when value == 1:
                    Array.ForEach(_ports, p => p.Due |= Due.Add);
                    break;
                case PortReady when any && value == 1:
                    _ports[number].IsReady = true;
                    _ports[number].Due |= Due.Name | (_ports[number].Host.IsConnected ? Due.Open : 0);
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

    private bool SendMessages(Virtqueue queue, DescriptorChain chain, Action returned)
    {
        Span<byte> message = stackalloc byte[MessageSize + LongestName];
        while (IsAnythingDue())
        {
            if (!queue.TryTake(chain))
            {
                return true;
            }

            queue.Return(chain, (uint)chain.Write(0, message[..TakeDue(message)]));
            returned();
        }

        return false;
    }

    private bool IsAnythingDue()
    {
        lock (_lock)
        {
            return Array.Exists(_ports, p => p.Due != 0);
        }
    }

    // Only this queue's thread takes what is due: what was there a moment ago is there still.
    private int TakeDue(Span<byte> message)
    {
        lock (_lock)
        {
            int number = Array.FindIndex(_ports, p => p.Due != 0);
            Port port = _ports[number];
            Due due = port.Due & (Due)(-(int)port.Due);
            port.Due &= ~due;
            ushort what = due switch
            {
                Due.Add => DeviceAdd,
                Due.Name => PortName,
                _ => PortOpen,
            };
            if (due == Due.Open)
            {
                port.ToldConnected = port.Host.IsConnected;
            }

            BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)number);
            BinaryPrimitives.WriteUInt16LittleEndian(message[4..], what);
            BinaryPrimitives.WriteUInt16LittleEndian(message[6..], (ushort)(due == Due.Open && !port.ToldConnected ? 0 : 1));
            if (due != Due.Name)
            {
                return MessageSize;
            }

            port.Name.CopyTo(message[MessageSize..]);
            return MessageSize + port.Name.Length;
        }
    }

    /// <summary>A port.</summary>
    private sealed class Port(IPortHost host, byte[] name)
    {
        private const int Piece = 4096;

        public IPortHost Host => host;

        public byte[] Name => name;

        // The threads of its two queues have these, each its own.
        public readonly byte[] Input = new byte[Piece];
        public readonly byte[] Output = new byte[Piece];
        public int Count;
        public int Given;
        public long Sent;
        public bool Holds;

        // Under the device's lock.
        public Due Due;
        public bool IsReady;
        public bool IsOpen;
        public bool ToldConnected;

        public void Reset() => (Count, Given, Sent, Holds, Due, IsReady, IsOpen, ToldConnected) = (0, 0, 0, false, Due.None, false, false, false);
    }
}
