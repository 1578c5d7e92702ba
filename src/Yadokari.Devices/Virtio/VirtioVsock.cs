using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// A socket device: streams between ports of the guest and ports of the host (virtio 1.2, 5.10), with credit-based flow control. A connection on
/// which the guest exceeds its credit, or sends an invalid packet, is reset.
/// </summary>
public sealed class VirtioVsock : VirtioDevice
{
    private const int Receive = 0;
    private const int Transmit = 1;

    private const ulong HostCid = 2;
    private const uint FirstEphemeralPort = 1 << 30;
    private const int MaxConnections = 1024;
    private const int MaxResets = 256;
    private const int MaxData = 64 << 10;

    private readonly Lock _lock = new(); // Guards everything below. No vCPU thread takes it; the host's streams, which do not block, are called under it.
    private readonly IStreamHost _host;
    private readonly ulong _cid;
    private readonly Dictionary<(uint Guest, uint Host), VsockConnection> _connections = [];
    private readonly Queue<VsockConnection> _readyConnections = new(); // Connections that may have a packet for the guest.
    private readonly Queue<VsockPacket> _resets = new(); // RST packets for the guest, replies to packets of no connection.
    private readonly byte[] _data = new byte[MaxData];
    private DescriptorChain? _buffer; // A chain of the receive queue for the next packet to the guest, popped if _holdsBuffer.
    private bool _holdsBuffer;
    private bool _disposed;
    private uint _lastPort = FirstEphemeralPort;

    /// <summary>Creates the device. Does not own <paramref name="host"/>.</summary>
    /// <param name="host">Programs on the host.</param>
    /// <param name="cid">The guest's context ID (CID): 3 or more.</param>
    public VirtioVsock(IStreamHost host, uint cid)
    {
        _host = host;
        _cid = cid;
        host.ConnectionRequested = OnConnectionRequested;
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
                connection.IsClosed = true;
                connection.Stream.Dispose();
            }

            _connections.Clear();
            _readyConnections.Clear();
            _resets.Clear();
            _holdsBuffer = false;
        }
    }

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        switch (number)
        {
            case Receive:
                return ProcessReceive(queue, notifyDriver);
            case Transmit:
                ProcessTransmit(queue, chain, notifyDriver);
                return true;
            default:
                return false; // The event queue reports a transport reset after migration: there is none.
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

    // True if packets wait for a buffer of the driver.
    private bool ProcessReceive(Virtqueue queue, Action notifyDriver)
    {
        bool any = false;
        bool waits = false;
        lock (_lock)
        {
            _buffer ??= new DescriptorChain(queue.Dma);
            while (_resets.Count + _readyConnections.Count > 0)
            {
                _holdsBuffer = _holdsBuffer || queue.TryPop(_buffer);
                if (!_holdsBuffer)
                {
                    waits = true;
                    break;
                }

                uint written = _buffer.WritableLength < VsockPacket.Bytes ? 0 : FillNext(_buffer);
                if (written > 0 || _buffer.WritableLength < VsockPacket.Bytes)
                {
                    queue.Push(_buffer, written);
                    _holdsBuffer = false;
                    any = true;
                }
            }
        }

        if (any)
        {
            notifyDriver();
        }

        return waits;
    }

    // Writes the next packet for the guest into a buffer. 0 if no connection has one.
    private uint FillNext(DescriptorChain buffer)
    {
        if (_resets.TryDequeue(out VsockPacket reset))
        {
            return (uint)buffer.Write(0, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockPacket>(in reset)));
        }

        VsockConnection connection = _readyConnections.Dequeue();
        connection.IsQueued = false;
        if (connection.IsClosed)
        {
            return 0;
        }

        (VsockOperation operation, uint flags) = TakePendingPacket(connection);
        int length = 0;
        if (operation == VsockOperation.Invalid)
        {
            length = ReadHost(connection, (int)Math.Min(buffer.WritableLength - VsockPacket.Bytes, MaxData));
            if (length > 0)
            {
                operation = VsockOperation.Data;
            }
            else
            {
                (operation, flags) = TakePendingPacket(connection);
            }
        }

        if (operation == VsockOperation.Invalid)
        {
            return 0;
        }

        Queue(connection);
        var packet = new VsockPacket
        {
            SourceCid = HostCid,
            DestinationCid = _cid,
            SourcePort = connection.HostPort,
            DestinationPort = connection.GuestPort,
            Length = (uint)length,
            Type = VsockPacket.Stream,
            Operation = operation,
            Flags = flags,
            BufferSize = VsockConnection.BufferSize,
            ForwardedCount = connection.ForwardedCount,
        };
        connection.MarkForwardedCountReported();
        connection.Send(length);
        buffer.Write(0, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockPacket>(in packet)));
        buffer.Write(VsockPacket.Bytes, _data.AsSpan(0, length));
        return (uint)(VsockPacket.Bytes + length);
    }

    private (VsockOperation Operation, uint Flags) TakePendingPacket(VsockConnection connection)
    {
        VsockPending next = (VsockPending)((int)connection.PendingPackets & -(int)connection.PendingPackets);
        connection.PendingPackets &= ~next;
        switch (next)
        {
            case VsockPending.Request:
                return (VsockOperation.Request, 0);
            case VsockPending.Response:
                return (VsockOperation.Response, 0);
            case VsockPending.Credit:
                return (VsockOperation.CreditUpdate, 0);
            case VsockPending.Shutdown:
                return (VsockOperation.Shutdown, connection.HostShutdown);
            case VsockPending.Reset:
                Remove(connection);
                return (VsockOperation.Reset, 0);
            default:
                return default;
        }
    }

    private int ReadHost(VsockConnection connection, int room)
    {
        int maxLength = Math.Min(room, connection.Credit);
        if (!connection.IsEstablished || !connection.MayRead || maxLength == 0 || (connection.GuestShutdown & VsockConnection.ShutdownReceive) != 0)
        {
            return 0;
        }

        int read = connection.Stream.Read(_data.AsSpan(0, maxLength));
        if (read < 0)
        {
            connection.MayRead = false;
        }
        else if (read == 0)
        {
            connection.MayRead = false;
            connection.HostShutdown = connection.Stream.HasEnded ? VsockConnection.ShutdownBoth : VsockConnection.ShutdownSend;
            connection.PendingPackets |= VsockPending.Shutdown;
        }

        return Math.Max(read, 0);
    }

    private void ProcessTransmit(Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        while (queue.TryPop(chain))
        {
            VsockPacket packet = default;
            bool complete = chain.Read(0, MemoryMarshal.AsBytes(new Span<VsockPacket>(ref packet))) == VsockPacket.Bytes && packet.Length <= chain.ReadableLength - VsockPacket.Bytes;
            if (complete && packet.SourceCid == _cid && packet.DestinationCid == HostCid)
            {
                lock (_lock)
                {
                    Handle(packet, chain);
                }
            }

            queue.Push(chain, 0);
            notifyDriver();
        }

        Wake?.Invoke(Receive);
    }

    private void Handle(in VsockPacket packet, DescriptorChain chain)
    {
        _connections.TryGetValue((packet.SourcePort, packet.DestinationPort), out VsockConnection? connection);
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
            ReplyReset(packet);
            return;
        }

        connection.UpdateGuestCredit(packet);
        if (!HandlePacket(connection, packet, chain))
        {
            connection.PendingPackets = VsockPending.Reset;
        }

        Queue(connection);
    }

    // The guest requests a connection to a port of the host.
    private void Open(in VsockPacket packet)
    {
        IHostStream? stream = _connections.Count < MaxConnections ? _host.Connect(packet.DestinationPort) : null;
        if (stream is null)
        {
            ReplyReset(packet);
            return;
        }

        var connection = new VsockConnection(packet.SourcePort, packet.DestinationPort, stream) { IsEstablished = true, PendingPackets = VsockPending.Response };
        connection.UpdateGuestCredit(packet);
        Add(connection);
    }

    // False if the packet is invalid in the connection's state: it is reset then.
    private static bool HandlePacket(VsockConnection connection, in VsockPacket packet, DescriptorChain chain)
    {
        switch (packet.Operation)
        {
            case VsockOperation.Response when !connection.IsEstablished:
                connection.IsEstablished = true;
                connection.Stream.Accept(connection.HostPort);
                return true;
            case VsockOperation.Shutdown when connection.IsEstablished:
                connection.GuestShutdown |= packet.Flags & VsockConnection.ShutdownBoth;
                return TryFlush(connection);
            case VsockOperation.Data when connection.IsEstablished && (connection.GuestShutdown & VsockConnection.ShutdownSend) == 0:
                return connection.TryReceive(chain, (int)Math.Min(packet.Length, int.MaxValue)) && TryFlush(connection);
            case VsockOperation.CreditUpdate when connection.IsEstablished:
                return true;
            case VsockOperation.CreditRequest when connection.IsEstablished:
                connection.PendingPackets |= VsockPending.Credit;
                return true;
            default:
                return false;
        }
    }

    // False if the connection is to be closed: the host's program closed it, or the guest shut down both directions and all of its data is written.
    private static bool TryFlush(VsockConnection connection)
    {
        if (!connection.TryFlush())
        {
            return false;
        }

        if (connection.IsFlushed && (connection.GuestShutdown & VsockConnection.ShutdownSend) != 0)
        {
            connection.Stream.EndWriting();
            return connection.GuestShutdown != VsockConnection.ShutdownBoth;
        }

        return true;
    }

    // Replies with RST to a packet of no connection. Beyond MaxResets replies that the guest does not receive, further ones are dropped.
    private void ReplyReset(in VsockPacket packet)
    {
        if (_resets.Count < MaxResets)
        {
            _resets.Enqueue(new VsockPacket
            {
                SourceCid = HostCid,
                DestinationCid = _cid,
                SourcePort = packet.DestinationPort,
                DestinationPort = packet.SourcePort,
                Type = packet.Type,
                Operation = VsockOperation.Reset,
            });
        }
    }

    private void OnConnectionRequested(uint port, IHostStream stream)
    {
        bool taken;
        lock (_lock)
        {
            taken = !_disposed && _connections.Count < MaxConnections;
            if (taken)
            {
                do
                {
                    _lastPort = _lastPort == uint.MaxValue ? FirstEphemeralPort : _lastPort + 1;
                }
                while (_connections.ContainsKey((port, _lastPort)));

                Add(new VsockConnection(port, _lastPort, stream) { PendingPackets = VsockPending.Request });
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
            if (connection.IsClosed)
            {
                return;
            }

            connection.MayRead |= connection.HostShutdown == 0;
            if (connection.HostShutdown == VsockConnection.ShutdownSend && connection.Stream.HasEnded)
            {
                connection.HostShutdown = VsockConnection.ShutdownBoth;
                connection.PendingPackets |= VsockPending.Shutdown;
            }

            if (connection.IsEstablished ? !TryFlush(connection) : connection.Stream.HasEnded)
            {
                connection.PendingPackets = VsockPending.Reset;
            }

            Queue(connection);
        }

        Wake?.Invoke(Receive);
    }

    private void Queue(VsockConnection connection)
    {
        if (!connection.IsQueued && !connection.IsClosed)
        {
            connection.IsQueued = true;
            _readyConnections.Enqueue(connection);
        }
    }

    private void Remove(VsockConnection? connection)
    {
        if (connection is not null)
        {
            connection.IsClosed = true;
            _connections.Remove((connection.GuestPort, connection.HostPort));
            connection.Stream.Dispose();
        }
    }
}
