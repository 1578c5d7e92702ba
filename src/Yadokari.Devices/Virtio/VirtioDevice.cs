namespace Yadokari.Devices.Virtio;

/// <summary>
/// What a virtio device does, whatever it is reached by (virtio 1.2, chapter 5). The transport calls: configuration on vCPU threads, requests
/// on one thread for each queue, <see cref="Stop"/> while none of these runs.
/// </summary>
public abstract class VirtioDevice : IDisposable
{
    /// <summary>What statistics call it, such as <c>blk0</c>.</summary>
    public abstract string Name { get; }

    /// <summary>The device ID (virtio 1.2, chapter 5).</summary>
    public abstract ushort Type { get; }

    /// <summary>The class code on PCI, 24 bits.</summary>
    public virtual uint ClassCode => 0x00_FF_00;

    /// <summary>The feature bits that are its own.</summary>
    public virtual ulong Features => 0;

    /// <summary>The most entries of each of its queues.</summary>
    public abstract IReadOnlyList<ushort> QueueSizes { get; }

    /// <summary>Bytes of its configuration.</summary>
    public virtual int ConfigSize => 0;

    /// <summary>Tells the driver that the configuration changed. Any thread. Set by the transport.</summary>
    public Action? ConfigChanged { get; set; }

    /// <summary>Makes a queue's thread look at it although the driver put nothing in: the host has something for the guest. Any thread; returns at once. Set by the transport.</summary>
    public Action<int>? Wake { get; set; }

    /// <summary>The features that device and driver agreed on. Set by the transport before queues are served.</summary>
    public ulong Accepted { get; set; }

    /// <summary>
    /// The machine pauses: <see cref="Process"/> returns as soon as it can, and will be called again. Set by the transport, while queues are served.
    /// </summary>
    public bool IsPausing
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    }

    /// <summary>Reads configuration. What is beyond it stays as given.</summary>
    public virtual void ReadConfig(int offset, Span<byte> data)
    {
    }

    /// <summary>For <see cref="ReadConfig"/>: reads from the bytes of a configuration.</summary>
    protected static void CopyConfig(ReadOnlySpan<byte> config, int offset, Span<byte> data)
    {
        if (offset < config.Length)
        {
            config[offset..Math.Min(config.Length, offset + data.Length)].CopyTo(data);
        }
    }

    /// <summary>Writes configuration.</summary>
    public virtual void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>The driver put something into a queue while <see cref="Process"/> serves it. Any thread, under a lock of the transport's: returns at once.</summary>
    public virtual void Kicked(int number)
    {
    }

    /// <summary>The driver reset it: nothing of what it did stays.</summary>
    public virtual void Stop()
    {
    }

    /// <summary>Serves what is in a queue, until it is empty or the device has nothing for it.</summary>
    /// <param name="number">Which.</param>
    /// <param name="queue">The queue.</param>
    /// <param name="chain">To take requests into.</param>
    /// <param name="returned">To be called after requests were returned: sends an interrupt if the driver wants one.</param>
    /// <returns>True if it is the driver's turn: to be called again once it has put something in. False if that is of no use before <see cref="Wake"/>.</returns>
    public abstract bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned);

    /// <inheritdoc/>
    public virtual void Dispose() => GC.SuppressFinalize(this);
}
