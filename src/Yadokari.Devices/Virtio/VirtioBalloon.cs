using System.Buffers.Binary;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Virtio;

/// <summary>
/// A memory balloon (virtio 1.2, 5.5): discards the host's memory of pages that the guest puts into the balloon, and of free pages that it reports
/// (free page reporting).
/// </summary>
public sealed class VirtioBalloon : VirtioDevice
{
    private const int PageShift = 12;
    private const int PageSize = 1 << PageShift;

    // Features (5.5.3).
    private const ulong DeflatesWhenShort = 1 << 2;
    private const ulong Reporting = 1 << 5;

    // Queues. A queue whose feature is not offered has no index, as in Linux and QEMU; 5.5.2 numbers them all.
    private const int Inflate = 0;
    private const int Report = 2;

    private const int TargetOffset = 0;
    private const int ActualOffset = 4;

    // Bytes of page frame numbers in one request: as many as name 1 GiB. Drivers send far fewer; without a limit one request could occupy the thread for hours.
    private const int MaxNumbers = 1 << 20;

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

    /// <summary>The actual size of the balloon in bytes. Any thread.</summary>
    public long Actual => (long)Get(ActualOffset) << PageShift;

    /// <summary>The requested size of the balloon in bytes: a multiple of 4096, less than 16 TiB. The driver inflates and deflates towards it on its own time. Any thread.</summary>
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
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        while (queue.TryPop(chain))
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

            // Deflate needs no action: a discarded page reads as zeroes until the guest touches it.
            queue.Push(chain, 0);
            notifyDriver();
        }

        return true;
    }

    // 32-bit page frame numbers; contiguous pages are discarded together. Numbers beyond the limit are ignored: those pages stay allocated.
    private void DiscardPages(DescriptorChain chain, Dma dma)
    {
        ulong start = 0;
        int length = 0;
        int read;
        for (long at = 0; at < MaxNumbers && (read = chain.Read(at, _numbers) & ~3) > 0; at += read)
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
