using System.Buffers.Binary;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// Gives memory that the guest does not use back to the host (virtio 1.2, 5.5): what the guest was asked to leave (the balloon), and what it
/// reports as free from time to time.
/// </summary>
public sealed class VirtioBalloon : VirtioDevice
{
    private const int PageShift = 12;
    private const int PageSize = 1 << PageShift;

    // Features (5.5.3).
    private const ulong DeflatesWhenShort = 1 << 2;
    private const ulong Reporting = 1 << 5;

    // Queues: those that are not offered have no number (as Linux and QEMU count; 5.5.2 counts them too).
    private const int Inflate = 0;
    private const int Report = 2;

    private const int TargetOffset = 0;
    private const int ActualOffset = 4;

    // Bytes of numbers in one request: as many as name a GiB. Drivers send far fewer; with no bound one request might keep a thread for hours.
    private const int MostNumbers = 1 << 20;

    private readonly Lock _lock = new(); // Innermost: guards the configuration.
    private readonly byte[] _config = new byte[8];
    private readonly byte[] _numbers = new byte[4096];

    /// <inheritdoc/>
    public override string Name => "balloon";

    /// <inheritdoc/>
    public override ushort Type => 5;

    /// <inheritdoc/>
    public override ulong Features => DeflatesWhenShort | Reporting;

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; } = [128, 128, 128];

    /// <inheritdoc/>
    public override int ConfigSize => _config.Length;

    /// <summary>Bytes that the guest has left to the host so far. Any thread.</summary>
    public long Actual => (long)Get(ActualOffset) << PageShift;

    /// <summary>Bytes that the guest is asked to leave: a multiple of 4096, less than 16 TiB. It does so when its driver gets to it. Any thread.</summary>
    public long Target
    {
        get => (long)Get(TargetOffset) << PageShift;
        set
        {
            lock (_lock)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(TargetOffset), checked((uint)(value >> PageShift)));
            }

            ConfigChanged?.Invoke();
        }
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
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + i < _config.Length; i++)
            {
                if (offset + i >= ActualOffset)
                {
                    _config[offset + i] = data[i];
                }
            }
        }
    }

    /// <inheritdoc/>
    public override void Stop()
    {
        lock (_lock)
        {
            _config.AsSpan(ActualOffset).Clear();
        }
    }

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action returned)
    {
        while (queue.TryTake(chain))
        {
            if (number == Inflate)
            {
                DiscardPages(chain, queue.Dma);
            }
            else if (number == Report)
            {
                foreach ((ulong gpa, int length) in chain.Writable)
                {
                    queue.Dma.Discard(gpa, length);
                }
            }

            // A page that comes back is empty until it is touched: there is nothing to do for it.
            queue.Return(chain, 0);
            returned();
        }

        return true;
    }

    // Page numbers of 32 bits; neighbours go together. Those behind the most stay as they are, which is the host's loss alone.
    private void DiscardPages(DescriptorChain chain, Dma dma)
    {
        ulong start = 0;
        int length = 0;
        int read;
        for (long at = 0; at < MostNumbers && (read = chain.Read(at, _numbers) & ~3) > 0; at += read)
        {
            for (int i = 0; i < read; i += 4)
            {
                ulong gpa = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(_numbers.AsSpan(i)) << PageShift;
                if (length > 0 && gpa == start + (ulong)length && length < 1 << 30)
                {
                    length += PageSize;
                }
                else if (length > 0 && gpa == start - PageSize && length < 1 << 30)
                {
                    start = gpa;
                    length += PageSize;
                }
                else
                {
                    dma.Discard(start, length);
                    (start, length) = (gpa, PageSize);
                }
            }
        }

        dma.Discard(start, length);
    }

    private uint Get(int offset)
    {
        lock (_lock)
        {
            return BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(offset));
        }
    }
}
