namespace Yadokari.Devices.Virtio;

/// <summary>
/// A virtio device, independent of its transport (virtio 1.2, chapter 5). The transport calls it: configuration accesses on vCPU threads,
/// <see cref="Process"/> on one thread for each queue, <see cref="Stop"/> while none of these runs.
/// </summary>
public abstract class VirtioDevice : IDisposable
{
    /// <summary>The name in statistics, such as <c>blk0</c>.</summary>
    public abstract string Name { get; }

    /// <summary>The device ID (virtio 1.2, chapter 5).</summary>
    public abstract ushort Type { get; }

    /// <summary>The PCI class code, 24 bits.</summary>
    public virtual uint ClassCode => 0x00_FF_00;

    /// <summary>The device-specific feature bits that it offers.</summary>
    public virtual ulong Features => 0;

    /// <summary>The maximum size of each of its queues, in entries.</summary>
    public abstract IReadOnlyList<ushort> QueueSizes { get; }

    /// <summary>Size of its configuration space in bytes.</summary>
    public virtual int ConfigSize => 0;

    /// <summary>Sends a configuration change notification to the driver. Any thread. Set by the transport.</summary>
    public Action? ConfigChanged { get; set; }

    /// <summary>Wakes the thread of a queue without a kick, because the host has data for the guest. Any thread; does not block. Set by the transport.</summary>
    public Action<int>? Wake { get; set; }

    /// <summary>The negotiated features. Set by the transport before queues are served.</summary>
    public ulong Accepted { get; set; }

    /// <summary>
    /// Whether the machine is being paused: <see cref="Process"/> returns as soon as it can, and is called again at resume. Set by the transport, while
    /// queues are served.
    /// </summary>
    public bool IsPausing
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    }

    /// <summary>Reads configuration space. Bytes beyond its end are left unchanged.</summary>
    public virtual void ReadConfig(int offset, Span<byte> data)
    {
    }

    /// <summary>For <see cref="ReadConfig"/>: copies from the bytes of a configuration space.</summary>
    protected static void CopyConfig(ReadOnlySpan<byte> config, int offset, Span<byte> data)
    {
        if (offset < config.Length)
        {
            config[offset..Math.Min(config.Length, offset + data.Length)].CopyTo(data);
        }
    }

    /// <summary>Writes configuration space.</summary>
    public virtual void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>The driver kicked a queue while <see cref="Process"/> serves it. Any thread, under a lock of the transport: does not block.</summary>
    public virtual void Kicked(int number)
    {
    }

    /// <summary>The driver reset the device: discards all state, requests in flight included.</summary>
    public virtual void Stop()
    {
    }

    /// <summary>Processes the requests of a queue, until it is empty or the device has no data for it.</summary>
    /// <param name="number">Index of the queue.</param>
    /// <param name="queue">The queue.</param>
    /// <param name="chain">An object to pop requests into.</param>
    /// <param name="returned">To be called after chains were pushed to the used ring: sends an interrupt if the driver wants one.</param>
    /// <returns>True to be called again at the next kick. False if only <see cref="Wake"/> makes another call useful: kicks are suppressed until then.</returns>
    public abstract bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver);

    /// <inheritdoc/>
    public virtual void Dispose() => GC.SuppressFinalize(this);
}
