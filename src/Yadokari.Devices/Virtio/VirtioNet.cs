using System.Buffers.Binary;
using System.Net.NetworkInformation;
using System.Runtime.InteropServices;
using Yadokari.Core.Networks;

namespace Yadokari.Devices.Virtio;

/// <summary>A network card (virtio 1.2, 5.1), with checksum and segmentation offloads in both directions, and mergeable receive buffers.</summary>
public sealed class VirtioNet : VirtioDevice
{
    // Features (5.1.3).
    private const ulong Checksum = 1ul << 0;
    private const ulong GuestChecksum = 1ul << 1;
    private const ulong GuestOffloads = 1ul << 2;
    private const ulong HasMtu = 1ul << 3;
    private const ulong HasMac = 1ul << 5;
    private const ulong GuestTcp4 = 1ul << 7;
    private const ulong GuestTcp6 = 1ul << 8;
    private const ulong GuestEcn = 1ul << 9;
    private const ulong HostTcp4 = 1ul << 11;
    private const ulong HostTcp6 = 1ul << 12;
    private const ulong HostEcn = 1ul << 13;
    private const ulong MergeableBuffers = 1ul << 15;
    private const ulong HasStatus = 1ul << 16;
    private const ulong HasControl = 1ul << 17;
    private const ulong ControlsReceiveMode = 1ul << 18;
    private const ulong ControlsReceiveModeExtra = 1ul << 20;
    private const ulong ControlsMac = 1ul << 23;

    private const int Receive = 0;
    private const int Transmit = 1;

    private const int MacSize = 6;
    private const int StatusOffset = 6;
    private const int MtuOffset = 10;
    private const byte LinkUp = 1;

    private const int HeaderSize = 12;
    private const int BuffersOffset = 10;
    private const int MaxBatch = 64; // Maximum batch of frames between two calls of INetwork.Flush.
    private const ushort Entries = 256;

    private readonly INetwork _network;
    private readonly byte[] _config = new byte[12];
    private readonly byte[] _sent = new byte[HeaderSize + INetwork.MaxFrameSize];
    private readonly byte[] _command = new byte[2 + (2 * (4 + (ReceiveFilter.MaxAddresses * MacSize)))];
    private readonly List<DescriptorChain> _chains = []; // For receiving: the first _held are popped and wait for a frame.
    private int _held;
    private long _room; // Bytes in the chains that are held.
    private volatile ReceiveFilter _filter;
    private volatile bool _offloadsKnown;

    /// <summary>Creates the device. Does not own <paramref name="network"/>.</summary>
    /// <param name="network">The host's side of the card.</param>
    /// <param name="number">Number of the device in the machine, from 0.</param>
    /// <param name="mac">Its MAC address.</param>
    public VirtioNet(INetwork network, int number, PhysicalAddress mac)
    {
        _network = network;
        Name = $"net{number}";
        mac.GetAddressBytes().CopyTo(_config, 0);
        _config[StatusOffset] = LinkUp;
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(MtuOffset), (ushort)network.Mtu);
        _filter = new ReceiveFilter(_config.AsSpan(0, MacSize));
        network.Arrived = () => Wake?.Invoke(Receive);
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override ushort Type => 1;

    /// <inheritdoc/>
    public override uint ClassCode => 0x02_00_00;

    /// <inheritdoc/>
    public override ulong Features => HasMac | HasMtu | HasStatus | MergeableBuffers | HasControl | ControlsReceiveMode | ControlsReceiveModeExtra | ControlsMac
        | If(NetworkOffloads.Checksum, Checksum | GuestChecksum | GuestOffloads)
        | If(NetworkOffloads.Tcp4, GuestTcp4 | HostTcp4 | GuestEcn | HostEcn)
        | If(NetworkOffloads.Tcp6, GuestTcp6 | HostTcp6);

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; } = [Entries, Entries, 64];

    /// <inheritdoc/>
    public override int ConfigSize => _config.Length;

    /// <inheritdoc/>
    public override void ReadConfig(int offset, Span<byte> data) => CopyConfig(_config, offset, data);

    /// <inheritdoc/>
    public override void Stop()
    {
        (_held, _room, _offloadsKnown) = (0, 0, false);
        _filter = new ReceiveFilter(_config.AsSpan(0, MacSize));
        _network.Reset();
    }

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        switch (number)
        {
            case Receive:
                SetGuestOffloads((Accepted & GuestChecksum) != 0, (Accepted & GuestTcp4) != 0, (Accepted & GuestTcp6) != 0, first: true);
                return ProcessReceive(queue, notifyDriver);
            case Transmit:
                ProcessTransmit(queue, chain, notifyDriver);
                return true;
            default:
                ProcessControl(queue, chain, notifyDriver);
                return true;
        }
    }

    private ulong If(NetworkOffloads offload, ulong features) => (_network.Offloads & offload) != 0 ? features : 0;

    // The negotiated offloads hold until the driver changes them by VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET.
    private void SetGuestOffloads(bool checksum, bool tcp4, bool tcp6, bool first = false)
    {
        if (first && _offloadsKnown)
        {
            return;
        }

        _offloadsKnown = true;
        NetworkOffloads taken = !checksum ? NetworkOffloads.None
            : NetworkOffloads.Checksum | (tcp4 ? NetworkOffloads.Tcp4 : 0) | (tcp6 ? NetworkOffloads.Tcp6 : 0);
        _network.GuestOffloads = taken & _network.Offloads;
    }

    // True if a frame waits for buffers of the driver.
    private bool ProcessReceive(Virtqueue queue, Action notifyDriver)
    {
        bool any = false;
        bool waits = false;
        while (!IsPausing && _network.TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload))
        {
            if (_filter.Passes(frame))
            {
                waits = !TryHoldBuffers(queue, HeaderSize + frame.Length, out bool tooSmall);
                if (waits)
                {
                    break;
                }

                if (!tooSmall)
                {
                    Deliver(queue, frame, offload);
                    any = true;
                }
            }

            _network.Release();
        }

        if (any)
        {
            notifyDriver();
        }

        return waits;
    }

    // Pops buffers until the frame fits. False if the driver has to make more available first.
    private bool TryHoldBuffers(Virtqueue queue, int length, out bool tooSmall)
    {
        int maxChains = (Accepted & MergeableBuffers) != 0 ? queue.Size : 1;
        tooSmall = false;
        while (_room < length || _held == 0)
        {
            if (_held >= maxChains)
            {
                tooSmall = true;
                return true;
            }

            if (_held == _chains.Count)
            {
                _chains.Add(new DescriptorChain(queue.Dma));
            }

            if (!queue.TryPop(_chains[_held]))
            {
                return false;
            }

            _room += _chains[_held++].WritableLength;
        }

        return true;
    }

    private void Deliver(Virtqueue queue, ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        header.Clear();
        MemoryMarshal.Write(header, in offload);
        BinaryPrimitives.WriteUInt16LittleEndian(header[BuffersOffset..], (ushort)_held);
        long skip = 0;
        int at = 0;
        for (int i = 0; i < _held; i++)
        {
            DescriptorChain chain = _chains[i];
            if (!header.IsEmpty)
            {
                int piece = chain.Write(0, header);
                header = header[piece..];
                skip = piece;
            }

            long room = chain.WritableLength - skip;
            int count = (int)Math.Min(room, frame.Length - at);
            chain.Write(skip, frame.Slice(at, count));
            queue.Push(chain, (uint)(skip + count), more: i + 1 < _held);
            at += count;
            skip = 0;
        }

        (_held, _room) = (0, 0);
    }

    private void ProcessTransmit(Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        int sent = 0;
        while (queue.TryPop(chain))
        {
            int length = chain.ReadableLength <= _sent.Length ? chain.Read(0, _sent) : 0;
            if (length > HeaderSize && MemoryMarshal.Read<FrameOffload>(_sent) is var offload && offload.Fits(length - HeaderSize))
            {
                _network.Send(_sent.AsSpan(HeaderSize, length - HeaderSize), offload);
            }

            queue.Push(chain, 0);
            if (++sent % MaxBatch == 0)
            {
                _network.Flush();
                notifyDriver();
            }
        }

        if (sent % MaxBatch != 0)
        {
            _network.Flush();
            notifyDriver();
        }
    }

    // 5.1.6.5
    private void ProcessControl(Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        while (queue.TryPop(chain))
        {
            int length = chain.Read(0, _command);
            bool done = length >= 2 && HandleControl(_command[0], _command[1], _command.AsSpan(2, length - 2));
            queue.Push(chain, (uint)chain.Write(0, [(byte)(done ? 0 : 1)]));
            notifyDriver();
        }
    }

    private bool HandleControl(byte group, byte command, ReadOnlySpan<byte> data)
    {
        const byte receiving = 0, addresses = 1, offloads = 5;
        switch (group)
        {
            case receiving when data.Length >= 1 && _filter.With(command, data[0] != 0) is { } filter:
                _filter = filter;
                return true;
            case addresses when _filter.With(command, data) is { } filter:
                _filter = filter;
                return true;
            case offloads when command == 0 && data.Length >= 8 && (Accepted & GuestOffloads) != 0:
                ulong wanted = BinaryPrimitives.ReadUInt64LittleEndian(data) & Accepted;
                SetGuestOffloads((wanted & GuestChecksum) != 0, (wanted & GuestTcp4) != 0, (wanted & GuestTcp6) != 0);
                return true;
            default:
                return false;
        }
    }
}
