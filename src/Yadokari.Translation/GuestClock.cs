using Yadokari.Core.Engines;

namespace Yadokari.Translation;

/// <summary>
/// The clock of a machine: the host's TSC plus an offset. Each vCPU stores the sum of this offset and its IA32_TSC_ADJUST, which translated code
/// adds to the host's TSC.
/// </summary>
internal sealed class GuestClock : IGuestClock, IDisposable
{
    private static readonly TimeSpan s_betweenLooks = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new(); // Guards the fields below. Only vCPUs' counters are accessed while it is held.
    private readonly List<Vcpu> _vcpus;
    private readonly TscGap _gap = new(HostTsc.Read, () => Linux.SleepWatch.BootTime, HostTsc.Hz);
    private readonly Timer _looks;
    private ulong _offset = 0 - HostTsc.Read();
    private ulong _stoppedAt; // The host's TSC at that time.
    private volatile bool _stopped;

    /// <param name="vcpus">The vCPUs that use this clock; only this class changes the list.</param>
    public GuestClock(List<Vcpu> vcpus)
    {
        _vcpus = vcpus;
        _looks = new Timer(_ => Look(), null, s_betweenLooks, s_betweenLooks);
    }

    /// <inheritdoc/>
    public ulong Frequency => HostTsc.Hz;

    /// <summary>Whether the clock is stopped; no vCPU may run then.</summary>
    public bool IsStopped => _stopped;

    /// <summary>Adds a vCPU in its reset state and sets its TSC.</summary>
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

    /// <summary>Reads a vCPU's TSC. Any thread.</summary>
    /// <param name="offset">The vCPU's offset, which changes when the clock is set.</param>
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

        NotifyChanged();
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

            // A vCPU that starts to run sets IsRunning before it reads _stopped: either it sees the stop, or it is found here.
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

        NotifyChanged();
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

    // Notifies observers, without the lock, because they may read counters.
    private void NotifyChanged()
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
