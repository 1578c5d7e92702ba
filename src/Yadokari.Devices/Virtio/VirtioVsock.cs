using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// Streams between ports of the guest's and of the host's (virtio 1.2, 5.10). What either side may send is bounded by what the other has room
/// for; a guest that sends more, or what makes no sense, loses the connection.
/// </summary>
public sealed class VirtioVsock : VirtioDevice
{
    private const int Receive = 0;
    private const int Transmit = 1;

    private const ulong HostCid = 2;
    private const uint FirstOwnPort = 1 << 30;
    private const int MostConnections = 1024;
    private const int MostStrays = 256;
    private const int MostData = 64 << 10;

    private readonly Lock _lock = new(); // Guards all that follows. No vCPU ever waits for it; the host is called under it, and does not wait.
    private readonly IStreamHost _host;
    private readonly ulong _cid;
    private readonly Dictionary<(uint Guest, uint Host), VsockConnection> _connections = [];
    private readonly Queue<VsockConnection> _work = new(); // May have something for the guest.
    private readonly Queue<VsockPacket> _strays = new(); // Resets of what is no connection.
    private readonly byte[] _data = new byte[MostData];
    private DescriptorChain? _buffer; // Taken for a packet to the guest, if held.
    private bool _holds;
    private bool _disposed;
    private uint _lastPort = FirstOwnPort;

    /// <summary>Makes one. The host's end stays the caller's.</summary>
    /// <param name="host">The host's end.</param>
    /// <param name="cid">The guest's address: 3 or more.</param>
    public VirtioVsock(IStreamHost host, uint cid)
    {
        _host = host;
        _cid = cid;
        host.Asked = OnAsked;
    }

    /// <inheritdoc/>
    public override string Name => "vsock";

    /// <inheritdoc/>
    public override ushort Type => 19;

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; } = [128, 128, 16];

    /// <inheritdoc/>
    public override int ConfigSize => 8;

    /// <inheritdoc/>
    public override void ReadConfig(int offset, Span<byte> data)
    {
        Span<byte> config = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(config, _cid);
        CopyConfig(config, offset, data);
    }

    /// <inheritdoc/>
    public override void Stop()
    {
        lock (_lock)
        {
            foreach (VsockConnection connection in _connections.Values)
            {
                connection.IsGone = true;
                connection.Stream.Dispose();
            }

            _connections.Clear();
            _work.Clear();
            _strays.Clear();
            _holds = false;
        }
    }

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned)
    {
        switch (number)
        {
            case Receive:
                return ProcessReceive(queue, returned);
            case Transmit:
                ProcessTransmit(queue, chain, returned);
                return true;
            default:
                return false; // Events tell of a machine that moved: none does.
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
        }

        Stop();
        base.Dispose();
    }

    // True if something waits for a buffer.
    private bool ProcessReceive(Virtqueue queue, Action returned)
    {
        bool any = false;
        bool waits = false;
        lock (_lock)
        {
            _buffer ??= new DescriptorChain(queue.Dma);
            while (_strays.Count + _work.Count > 0)
            {
                _holds = _holds || queue.TryTake(_buffer);
                if (!_holds)
                {
                    waits = true;
                    break;
                }

                uint written = _buffer.WritableLength < VsockPacket.Bytes ? 0 : FillNext(_buffer);
                if (written > 0 || _buffer.WritableLength < VsockPacket.Bytes)
                {
                    queue.Return(_buffer, written);
                    _holds = false;
                    any = true;
                }
            }
        }

        if (any)
        {
            returned();
        }

        return waits;
    }

    // A packet for the guest. 0 if there is none after all.
    private uint FillNext(DescriptorChain buffer)
    {
        if (_strays.TryDequeue(out VsockPacket stray))
        {
            return (uint)buffer.Write(0, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockPacket>(in stray)));
        }

        VsockConnection connection = _work.Dequeue();
        connection.IsQueued = false;
        if (connection.IsGone)
        {
            return 0;
        }

        (VsockOperation operation, uint flags) = TakeDue(connection);
        int length = 0;
        if (operation == VsockOperation.Invalid)
        {
            length = ReadHost(connection, (int)Math.Min(buffer.WritableLength - VsockPacket.Bytes, MostData));
            if (length > 0)
            {
                operation = VsockOperation.Data;
            }
            else
            {
                (operation, flags) = TakeDue(connection);
            }
        }

        if (operation == VsockOperation.Invalid)
        {
            return 0;
        }

        Queue(connection);
        var packet = new VsockPacket
        {
            From = HostCid,
            To = _cid,
            FromPort = connection.HostPort,
            ToPort = connection.GuestPort,
            Length = (uint)length,
            Type = VsockPacket.Stream,
            Operation = operation,
            Flags = flags,
            Room = VsockConnection.Room,
            Taken = connection.Taken,
        };
        connection.TellTaken();
        connection.Send(length);
        buffer.Write(0, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockPacket>(in packet)));
        buffer.Write(VsockPacket.Bytes, _data.AsSpan(0, length));
        return (uint)(VsockPacket.Bytes + length);
    }

    private (VsockOperation Operation, uint Flags) TakeDue(VsockConnection connection)
    {
        VsockDue next = (VsockDue)((int)connection.Due & -(int)connection.Due);
        connection.Due &= ~next;
        switch (next)
        {
            case VsockDue.Request:
                return (VsockOperation.Request, 0);
            case VsockDue.Response:
                return (VsockOperation.Response, 0);
            case VsockDue.Credit:
                return (VsockOperation.CreditUpdate, 0);
            case VsockDue.Shutdown:
                return (VsockOperation.Shutdown, connection.HostEnded);
            case VsockDue.Reset:
                Remove(connection);
                return (VsockOperation.Reset, 0);
            default:
                return default;
        }
    }

    private int ReadHost(VsockConnection connection, int room)
    {
        int most = Math.Min(room, connection.Credit);
        if (!connection.IsOpen || !connection.MayRead || most == 0 || (connection.GuestEnded & VsockConnection.NoReceiving) != 0)
        {
            return 0;
        }

        int read = connection.Stream.Read(_data.AsSpan(0, most));
        if (read < 0)
        {
            connection.MayRead = false;
        }
        else if (read == 0)
        {
            connection.MayRead = false;
            connection.HostEnded = connection.Stream.HasEnded ? VsockConnection.Both : VsockConnection.NoSending;
            connection.Due |= VsockDue.Shutdown;
        }

        return Math.Max(read, 0);
    }

    private void ProcessTransmit(Virtqueue queue, DescriptorChain chain, Action returned)
    {
        while (queue.TryTake(chain))
        {
            VsockPacket packet = default;
            bool whole = chain.Read(0, MemoryMarshal.AsBytes(new Span<VsockPacket>(ref packet))) == VsockPacket.Bytes && packet.Length <= chain.ReadableLength - VsockPacket.Bytes;
            if (whole && packet.From == _cid && packet.To == HostCid)
            {
                lock (_lock)
                {
                    Handle(packet, chain);
                }
            }

            queue.Return(chain, 0);
            returned();
        }

        Wake?.Invoke(Receive);
    }

    private void Handle(in VsockPacket packet, DescriptorChain chain)
    {
        _connections.TryGetValue((packet.FromPort, packet.ToPort), out VsockConnection? connection);
        if (packet.Operation == VsockOperation.Reset)
        {
            Remove(connection);
            return;
        }

        if (packet.Operation == VsockOperation.Request && connection is null && packet.Type == VsockPacket.Stream)
        {
            Open(packet);
            return;
        }

        if (connection is null || packet.Type != VsockPacket.Stream)
        {
            Stray(packet);
            return;
        }

        connection.Hear(packet);
        if (!Obey(connection, packet, chain))
        {
            connection.Due = VsockDue.Reset;
        }

        Queue(connection);
    }

    // The guest wants a port of the host's.
    private void Open(in VsockPacket packet)
    {
        IHostStream? stream = _connections.Count < MostConnections ? _host.Connect(packet.ToPort) : null;
        if (stream is null)
        {
            Stray(packet);
            return;
        }

        var connection = new VsockConnection(packet.FromPort, packet.ToPort, stream) { IsOpen = true, Due = VsockDue.Response };
        connection.Hear(packet);
        Add(connection);
    }

    // False if the guest may not do that.
    private static bool Obey(VsockConnection connection, in VsockPacket packet, DescriptorChain chain)
    {
        switch (packet.Operation)
        {
            case VsockOperation.Response when !connection.IsOpen:
                connection.IsOpen = true;
                connection.Stream.Accept(connection.HostPort);
                return true;
            case VsockOperation.Shutdown when connection.IsOpen:
                connection.GuestEnded |= packet.Flags & VsockConnection.Both;
                return TryFlush(connection);
            case VsockOperation.Data when connection.IsOpen && (connection.GuestEnded & VsockConnection.NoSending) == 0:
                return connection.TryTake(chain, (int)Math.Min(packet.Length, int.MaxValue)) && TryFlush(connection);
            case VsockOperation.CreditUpdate when connection.IsOpen:
                return true;
            case VsockOperation.CreditRequest when connection.IsOpen:
                connection.Due |= VsockDue.Credit;
                return true;
            default:
                return false;
        }
    }

    // False if the connection is over: the host takes nothing more, or the guest has done with it and everything has arrived.
    private static bool TryFlush(VsockConnection connection)
    {
        if (!connection.TryFlush())
        {
            return false;
        }

        if (connection.IsFlushed && (connection.GuestEnded & VsockConnection.NoSending) != 0)
        {
            connection.Stream.EndWriting();
            return connection.GuestEnded != VsockConnection.Both;
        }

        return true;
    }

    // What is no connection is reset, so that the guest knows. A guest that makes many of these and takes no answers loses some.
    private void Stray(in VsockPacket packet)
    {
        if (_strays.Count < MostStrays)
        {
            _strays.Enqueue(new VsockPacket
            {
                From = HostCid,
                To = _cid,
                FromPort = packet.ToPort,
                ToPort = packet.FromPort,
                Type = packet.Type,
                Operation = VsockOperation.Reset,
            });
        }
    }

    private void OnAsked(uint port, IHostStream stream)
    {
        bool taken;
        lock (_lock)
        {
            taken = !_disposed && _connections.Count < MostConnections;
            if (taken)
            {
                do
                {
                    _lastPort = _lastPort == uint.MaxValue ? FirstOwnPort : _lastPort + 1;
                }
                while (_connections.ContainsKey((port, _lastPort)));

                Add(new VsockConnection(port, _lastPort, stream) { Due = VsockDue.Request });
            }
        }

        if (!taken)
        {
            stream.Dispose();
            return;
        }

        Wake?.Invoke(Receive);
    }

    private void Add(VsockConnection connection)
    {
        _connections.Add((connection.GuestPort, connection.HostPort), connection);
        connection.Stream.Ready = () => OnReady(connection);
        Queue(connection);
    }

    private void OnReady(VsockConnection connection)
    {
        lock (_lock)
        {
            if (connection.IsGone)
            {
                return;
            }

            connection.MayRead |= connection.HostEnded == 0;
            if (connection.HostEnded == VsockConnection.NoSending && connection.Stream.HasEnded)
            {
                connection.HostEnded = VsockConnection.Both;
                connection.Due |= VsockDue.Shutdown;
            }

            if (connection.IsOpen ? !TryFlush(connection) : connection.Stream.HasEnded)
            {
                connection.Due = VsockDue.Reset;
            }

            Queue(connection);
        }

        Wake?.Invoke(Receive);
    }

    private void Queue(VsockConnection connection)
    {
        if (!connection.IsQueued && !connection.IsGone)
        {
            connection.IsQueued = true;
            _work.Enqueue(connection);
        }
    }

    private void Remove(VsockConnection? connection)
    {
        if (connection is not null)
        {
            connection.IsGone = true;
            _connections.Remove((connection.GuestPort, connection.HostPort));
            connection.Stream.Dispose();
        }
    }
}
