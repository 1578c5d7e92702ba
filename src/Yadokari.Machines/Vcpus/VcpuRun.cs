using System.Runtime.ExceptionServices;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.X86.State;

namespace Yadokari.Machines.Vcpus;

/// <summary>
/// The run of all vCPUs from power-on to the machine's end, and their rendezvous: before each entry into guest code, a vCPU's thread calls
/// <see cref="Pass"/>, which parks it while the machine is reset or paused, or a debugger holds it.
/// </summary>
/// <param name="host">The host of the vCPUs.</param>
/// <param name="threads">The vCPUs' threads; must be filled before the run.</param>
/// <param name="reset">Resets the machine to its state at power-on. Called on a vCPU's thread while all vCPUs are parked.</param>
internal sealed class VcpuRun(IVcpuHost host, VcpuThread[] threads, Action reset) : IVcpuThreadOwner, IRunControl
{
    private readonly object _lock = new(); // Guards the fields below. Nothing is called while it is held.
    private readonly bool[] _inside = new bool[threads.Length]; // May run guest code; the others are parked.
    private readonly bool[] _held = new bool[threads.Length]; // By a debugger.
    private int _insideCount;
    private bool _paused;
    private bool _resetting;
    private MachineEnd? _end;
    private ExceptionDispatchInfo? _failure;
    private volatile bool _resetRequested;

    /// <inheritdoc/>
    public Func<int, VmExit, bool>? DebugExit { get; set; }

    // Also written without the lock.
    private bool HasEnded => Volatile.Read(ref _end) is not null;

    /// <summary>Runs until the end; the calling thread waits.</summary>
    public MachineEnd ToEnd()
    {
        foreach (Thread thread in (Thread[])[.. threads.Select(t => HostThread.Start($"vcpu{t.Vcpu.Id}", () => Body(t), Fail))])
        {
            thread.Join();
        }

        _failure?.Throw();
        return _end!;
    }

    /// <summary>Ends the run; the first end counts. Any thread, not under a device's lock.</summary>
    public void End(MachineEnd end)
    {
        if (Interlocked.CompareExchange(ref _end, end, null) is null)
        {
            Recall();
        }
    }

    /// <summary>Ends the run by an unexpected exception, which <see cref="ToEnd"/> throws; the first one counts. Any thread, not under a device's lock.</summary>
    public void Fail(Exception error)
    {
        Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
        End(new MachineEnd(EndReason.Stopped));
    }

    /// <summary>Requests a reset, which happens once all vCPUs are parked. Any thread, not under a device's lock.</summary>
    public void RequestReset()
    {
        _resetRequested = true;
        Recall();
    }

    /// <summary>
    /// Pauses the vCPUs: no vCPU runs guest code between the return of this and <see cref="Resume"/>. Any thread except a vCPU's, without a lock that a
    /// device takes.
    /// </summary>
    /// <returns>False if the run has ended: the caller must not resume then.</returns>
    public bool Pause()
    {
        lock (_lock)
        {
            _paused = true;
        }

        return RecallAndWait();
    }

    /// <summary>Resumes the vCPUs after <see cref="Pause"/>, except those that a debugger holds. Any thread.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            _paused = false;
            Monitor.PulseAll(_lock);
        }
    }

    /// <inheritdoc/>
    public bool HoldAll()
    {
        lock (_lock)
        {
            Array.Fill(_held, true);
        }

        return RecallAndWait();
    }

    /// <inheritdoc/>
    public void Release(ReadOnlySpan<bool> stay)
    {
        lock (_lock)
        {
            stay.CopyTo(_held);
            Monitor.PulseAll(_lock);
        }
    }

    /// <inheritdoc/>
    public bool Pass(VcpuThread thread)
    {
        int id = thread.Vcpu.Id;
        lock (_lock)
        {
            Park(id);
            while (!HasEnded)
            {
                if (IsResetDue)
                {
                    Reset();
                }
                else if (_paused || _held[id] || _resetRequested || _resetting)
                {
                    Monitor.Wait(_lock);
                }
                else
                {
                    _inside[id] = true;
                    _insideCount++;
                    return true;
                }
            }

            return false;
        }
    }

    /// <inheritdoc/>
    public bool HasInterrupt(int vcpu) => host.HasInterrupt(vcpu);

    /// <inheritdoc/>
    public void OnDebug(VcpuThread thread, VmExit exit)
    {
        int id = thread.Vcpu.Id;
        if (DebugExit?.Invoke(id, exit) == true)
        {
            lock (_lock)
            {
                _held[id] = true;
            }
        }
    }

    /// <inheritdoc/>
    public void OnShutdown(VcpuThread thread)
    {
        var state = new X86State();
        thread.Vcpu.Save(state);
        End(new MachineEnd(EndReason.TripleFault) { Vcpu = thread.Vcpu.Id, State = state });
    }

    // Under the lock. The thread that finds all vCPUs parked performs the requested reset, unless a debugger holds all of them.
    private bool IsResetDue => _resetRequested && !_resetting && _insideCount == 0 && !_paused && _held.Contains(false);

    // Under the lock, which is released during the reset, because a queue worker for which the reset waits may end the run.
    private void Reset()
    {
        (_resetting, _resetRequested) = (true, false);
        Monitor.Exit(_lock);
        try
        {
            reset();
        }
        finally
        {
            Monitor.Enter(_lock);
            _resetting = false;
            Monitor.PulseAll(_lock);
        }
    }

    // Under the lock.
    private void Park(int vcpu)
    {
        if (_inside[vcpu])
        {
            _inside[vcpu] = false;
            if (--_insideCount == 0)
            {
                Monitor.PulseAll(_lock);
            }
        }
    }

    private void Body(VcpuThread thread)
    {
        try
        {
            thread.Main();
        }
        catch (Exception e)
        {
            // An error of the monitor, or a kernel file that can't be read at a reset: the caller of ToEnd receives it.
            Fail(e);
        }
        finally
        {
            lock (_lock)
            {
                Park(thread.Vcpu.Id);
            }
        }
    }

    // Makes all vCPUs leave guest code and call Pass.
    private void Recall()
    {
        foreach (VcpuThread thread in threads)
        {
            thread.Wake();
        }

        lock (_lock)
        {
            Monitor.PulseAll(_lock);
        }
    }

    // The same, and waits until all are parked; false if the run has ended.
    private bool RecallAndWait()
    {
        Recall();
        lock (_lock)
        {
            while (_insideCount > 0 || _resetting)
            {
                Monitor.Wait(_lock);
            }

            return !HasEnded;
        }
    }
}
