using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks;

/// <summary>A TAP device of the host, which may be attached to a bridge.</summary>
public sealed class TapNetwork : INetwork
{
    private readonly FrameQueue _queue = new();
    private readonly byte[] _lost = new byte[INetwork.MaxFrameSize];
    private readonly Epoll _epoll = new();
    private readonly TapDevice _device;
    private readonly Thread _thread;
    private NetworkOffloads _guestOffloads;
    private volatile bool _ends;

    /// <summary>Opens the device.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="failed">As with <see cref="HostThread.Start"/>.</param>
    /// <exception cref="Core.UserErrorException">The host does not permit it.</exception>
    public TapNetwork(string name, Action<Exception>? failed = null)
    {
        try
        {
            _device = TapDevice.Open(name);
            _epoll.Add(_device.Descriptor, 0, Readiness.Read);
        }
        catch
        {
            _device?.Dispose();
            _epoll.Dispose();
            throw;
        }

        _device.TrySetOffloads(NetworkOffloads.None);
        _thread = HostThread.Start("network", Serve, failed);
    }

    /// <inheritdoc/>
    public int Mtu => 1500;

    /// <inheritdoc/>
    public NetworkOffloads Offloads => NetworkOffloads.All;

    /// <inheritdoc/>
    public NetworkOffloads GuestOffloads
    {
        get => _guestOffloads;
        set
        {
            _guestOffloads = value;
            _device.TrySetOffloads(value);
        }
    }

    /// <inheritdoc/>
    public Action? Arrived { get; set; }

    /// <inheritdoc/>
    public void Send(ReadOnlySpan<byte> frame, in FrameOffload offload) => _device.Write(frame, offload);

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public bool TryPeek(out ReadOnlySpan<byte> frame, out FrameOffload offload) => _queue.TryPeek(out frame, out offload);

    /// <inheritdoc/>
    public void Release() => _queue.Release();

    /// <inheritdoc/>
    public void Reset()
    {
        GuestOffloads = NetworkOffloads.None;
        _queue.Drain();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ends = true;
        _epoll.Wake();
        _thread.Join();
        _device.Dispose();
        _epoll.Dispose();
    }

    private void Serve()
    {
        Span<ReadyEvent> events = stackalloc ReadyEvent[1];
        while (!_ends)
        {
            bool any = false;
            while (Receive())
            {
                any = true;
            }

            if (any)
            {
                Arrived?.Invoke();
            }

            _epoll.Wait(events, -1);
        }
    }

    // Frames that do not fit in the queue are dropped.
    private bool Receive()
    {
        bool room = _queue.TryReserve(INetwork.MaxFrameSize, out Span<byte> frame);
        int length = _device.Read(room ? frame : _lost, out FrameOffload offload);
        if (length > 0 && room)
        {
            _queue.Put(length, offload);
        }

        return length > 0;
    }
}
