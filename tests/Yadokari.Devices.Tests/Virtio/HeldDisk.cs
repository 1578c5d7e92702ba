using Yadokari.Core.Disks;
using Yadokari.Core.Memory;

namespace Yadokari.Devices.Tests.Virtio;

/// <summary>A disk in memory whose requests are in flight until the test ends them, in the order that it likes.</summary>
internal sealed class HeldDisk(int length) : IDisk
{
    private readonly object _lock = new();
    private readonly List<(IDiskQueue Queue, int Tag, Func<bool> Do)> _held = [];
    private readonly List<(IDiskQueue Queue, int Tag, bool Done)> _ended = [];

    public byte[] Bytes { get; } = new byte[length];

    public string Path => "held";

    public long Length => Bytes.Length;

    public bool ReadOnly => false;

    /// <summary>Queues that are open.</summary>
    public int Queues { get; private set; }

    /// <summary>How many requests are in flight.</summary>
    public int Held
    {
        get
        {
            lock (_lock)
            {
                return _held.Count;
            }
        }
    }

    /// <summary>Ends whatever is in flight, so that a test that failed ends too.</summary>
    public void EndAll() => End(true, [.. Enumerable.Range(0, Held)]);

    /// <summary>Ends those that are the first, second... of what is in flight; all of them are seen together.</summary>
    public void End(bool done, params int[] which)
    {
        lock (_lock)
        {
            var chosen = which.Select(i => _held[i]).ToList();
            foreach ((IDiskQueue queue, int tag, Func<bool> act) in chosen)
            {
                _ended.Add((queue, tag, done && act()));
            }

            _held.RemoveAll(chosen.Contains);
            Monitor.PulseAll(_lock);
        }
    }

    public IDiskQueue OpenQueue(int depth)
    {
        lock (_lock)
        {
            Queues++;
        }

        return new Queue(this, depth);
    }

    public bool TryRead(long offset, Span<byte> data)
    {
        Bytes.AsSpan((int)offset, data.Length).CopyTo(data);
        return true;
    }

    public bool TryWrite(long offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(Bytes.AsSpan((int)offset));
        return true;
    }

    public bool TryFlush() => true;

    public bool TryDiscard(long offset, long length) => true;

    public bool TryWriteZeroes(long offset, long length, bool mayDiscard) => TryWrite(offset, new byte[length]);

    public void Dispose()
    {
    }

    private sealed class Queue(HeldDisk disk, int depth) : IDiskQueue
    {
        private bool _woken;

        public DiskProgress Read(long offset, ReadOnlySpan<HostBuffer> pieces, int tag)
        {
            HostBuffer[] kept = pieces.ToArray();
            return Hold(tag, () => ((IDisk)disk).TryRead(offset, kept));
        }

        public DiskProgress Write(long offset, ReadOnlySpan<HostBuffer> pieces, int tag)
        {
            HostBuffer[] kept = pieces.ToArray();
            return Hold(tag, () => ((IDisk)disk).TryWrite(offset, kept));
        }

        public DiskProgress Flush(int tag) => Hold(tag, disk.TryFlush);

        public void Poll(bool wait)
        {
            lock (disk._lock)
            {
                while (wait && !_woken && !disk._ended.Exists(e => e.Queue == this))
                {
                    Monitor.Wait(disk._lock);
                }

                _woken &= !wait;
            }
        }

        public bool TryTake(out int tag, out bool done)
        {
            lock (disk._lock)
            {
                int first = disk._ended.FindIndex(e => e.Queue == this);
                (tag, done) = first < 0 ? (0, false) : (disk._ended[first].Tag, disk._ended[first].Done);
                if (first >= 0)
                {
                    disk._ended.RemoveAt(first);
                }

                return first >= 0;
            }
        }

        public void Wake()
        {
            lock (disk._lock)
            {
                _woken = true;
                Monitor.PulseAll(disk._lock);
            }
        }

        public void Dispose()
        {
            lock (disk._lock)
            {
                Assert.DoesNotContain(disk._held, h => h.Queue == this);
                disk.Queues--;
            }
        }

        private DiskProgress Hold(int tag, Func<bool> act)
        {
            lock (disk._lock)
            {
                Assert.InRange(tag, 0, depth - 1);
                Assert.DoesNotContain(disk._held, h => h.Queue == this && h.Tag == tag);
                disk._held.Add((this, tag, act));
                return DiskProgress.InFlight;
            }
        }
    }
}
