using Yadokari.Core.Engines;

namespace Yadokari.Translation;

/// <summary>
/// The clock of a machine: the host's time-stamp counter and an offset. Each vCPU keeps the sum of that offset and its IA32_TSC_ADJUST, which
/// translated code adds to the host's counter.
/// </summary>
internal sealed class GuestClock : IGuestClock, IDisposable
{
    private static readonly TimeSpan s_betweenLooks = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new(); // Guards what follows. Nothing is called inside it but vCPUs' counters.
    private readonly List<Vcpu> _vcpus;
    private readonly TscGap _gap = new(HostTsc.Read, () => Linux.SleepWatch.BootTime, HostTsc.Hz);
    private readonly Timer _looks;
    private ulong _offset = 0 - HostTsc.Read();
    private ulong _stoppedAt; // The host's counter then.
    private volatile bool _stopped;

    /// <param name="vcpus">The vCPUs that count by it; changed only here.</param>
    public GuestClock(List<Vcpu> vcpus)
    {
        _vcpus = vcpus;
        _looks = new Timer(_ => Look(), null, s_betweenLooks, s_betweenLooks);
    }

    /// <inheritdoc/>
    public ulong Frequency => HostTsc.Hz;

    /// <summary>No vCPU may run.</summary>
    public bool IsStopped => _stopped;

    /// <summary>Has a vCPU in the state after reset count by this clock.</summary>
    public void Add(Vcpu vcpu)
    {
        lock (_lock)
        {
            vcpu.MoveTsc(_offset);
            _vcpus.Add(vcpu);
        }
    }

    /// <inheritdoc/>
    public ulong Read()
    {
        lock (_lock)
        {
            return HostCounter + _offset;
        }
    }

    /// <summary>What a vCPU's counter shows. Any thread.</summary>
    /// <param name="offset">Its offset, which moves when the clock does.</param>
    public ulong Read(ref readonly ulong offset)
    {
        if (!_stopped)
        {
            return HostTsc.Read() + Volatile.Read(in offset);
        }

        lock (_lock)
        {
            return HostCounter + Volatile.Read(in offset);
        }
    }

    /// <inheritdoc/>
    public void Set(ulong value)
    {
        lock (_lock)
        {
            Move(value - (HostCounter + _offset));
        }

        Tell();
    }

    /// <inheritdoc/>
    public void Stop()
    {
        lock (_lock)
        {
            if (_stopped)
            {
                return;
            }

            // One that begins to run sees it, or is seen here.
            _stoppedAt = HostTsc.Read();
            _stopped = true;
            Interlocked.MemoryBarrier();
            if (_vcpus.Find(v => v.IsRunning) is { } running)
            {
                _stopped = false;
                throw new InvalidOperationException($"The clock can't be stopped while vCPU {running.Id} runs: have it leave guest code first.");
            }
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_lock)
        {
            if (_stopped)
            {
                Move(_stoppedAt - HostTsc.Read());
                _stopped = false;
            }
        }
    }

    /// <inheritdoc/>
    public void CatchUp()
    {
        lock (_lock)
        {
            ulong gap = _gap.Take();
            if (gap == 0 || _stopped)
            {
                return;
            }

            Move(gap);
        }

        Tell();
    }

    public void Dispose() => _looks.Dispose();

    private ulong HostCounter => _stopped ? _stoppedAt : HostTsc.Read();

    private void Move(ulong distance)
    {
        _offset += distance;
        foreach (Vcpu vcpu in _vcpus)
        {
            vcpu.MoveTsc(distance);
        }
    }

    // Without the lock: hosts may read counters.
    private void Tell()
    {
        foreach (Vcpu vcpu in _vcpus)
        {
            vcpu.Host.TscChanged(vcpu.Id);
        }
    }

    private void Look()
    {
        lock (_lock)
        {
            _gap.Look();
        }
    }
}
