using System.Runtime.ExceptionServices;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.X86.State;

namespace Yadokari.Machines.Vcpus;

/// <summary>
/// The run of all vCPUs from power-on to the machine's end. It is where their threads meet: before each entry into guest code they pass here, and are held
/// back while the machine is reset or paused.
/// </summary>
/// <param name="host">What the vCPUs ask.</param>
/// <param name="threads">Filled by the time of the run.</param>
/// <param name="reset">Puts the machine back to power-on. Called with all vCPUs parked, on one's thread.</param>
internal sealed class VcpuRun(IVcpuHost host, VcpuThread[] threads, Action reset) : IVcpuThreadOwner
{
    private readonly object _lock = new(); // Guards what follows. Nothing is called inside it.
    private readonly bool[] _inside = new bool[threads.Length]; // May run guest code.
    private int _insideCount;
    private int _stops; // Those that hold the vCPUs.
    private bool _resetting;
    private MachineEnd? _end;
    private ExceptionDispatchInfo? _failure;
    private volatile bool _resetRequested;

    /// <summary>A debugger's gate, if there is one.</summary>
    public IVcpuGate? Gate { get; set; }

    // Under the lock, or to see whether it is of use to take it.
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
            Gate?.Open();
            Recall();
        }
    }

    /// <summary>Ends the run by an exception that nothing expected, which <see cref="ToEnd"/> throws; the first one counts. As <see cref="End"/>.</summary>
    public void Fail(Exception error)
    {
        Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
        End(new MachineEnd(EndReason.Stopped));
    }

    /// <summary>Resets the machine soon. Any thread, not under a device's lock.</summary>
    public void RequestReset()
    {
        _resetRequested = true;
        Recall();
    }

    /// <summary>
    /// Waits until no vCPU runs guest code, and holds them all until <see cref="StartTheWorld"/>; once for each call. Any thread but a vCPU's, with no lock
    /// held that a device takes.
    /// </summary>
    /// <returns>False where the run has ended: nothing is to be started again then.</returns>
    public bool StopTheWorld()
    {
        lock (_lock)
        {
            _stops++;
        }

        Recall();
        lock (_lock)
        {
            while (_insideCount > 0 || _resetting)
            {
                Monitor.Wait(_lock);
            }

            if (HasEnded)
            {
                _stops--;
                return false;
            }

            return true;
        }
    }

    /// <summary>Lets the vCPUs go again.</summary>
    public void StartTheWorld()
    {
        lock (_lock)
        {
            _stops--;
            Monitor.PulseAll(_lock);
        }
    }

    /// <inheritdoc/>
    public bool Pass(VcpuThread thread)
    {
        int id = thread.Vcpu.Id;
        Park(id);
        while (true)
        {
            if (!MayGo())
            {
                // A debugger must not wait for a vCPU that is parked here.
                Gate?.Leave(id);
                if (!WaitToGo())
                {
                    return false;
                }
            }

            Gate?.Enter(id);
            lock (_lock)
            {
                if (!IsHeld)
                {
                    _inside[id] = true;
                    _insideCount++;
                    return true;
                }
            }
        }
    }

    /// <inheritdoc/>
    public bool HasInterrupt(int vcpu) => host.HasInterrupt(vcpu);

    /// <inheritdoc/>
    public bool IsStepping(VcpuThread thread) => Gate?.IsStepping(thread.Vcpu.Id) == true;

    /// <inheritdoc/>
    public void OnDebug(VcpuThread thread) => Gate?.Debug(thread.Vcpu.Id);

    /// <inheritdoc/>
    public void OnShutdown(VcpuThread thread)
    {
        Gate?.Shutdown(thread.Vcpu.Id);
        var state = new X86State();
        thread.Vcpu.Save(state);
        End(new MachineEnd(EndReason.TripleFault) { Vcpu = thread.Vcpu.Id, State = state });
    }

    // Under the lock.
    private bool IsHeld => _stops > 0 || _resetRequested || _resetting || HasEnded;

    private bool MayGo()
    {
        lock (_lock)
        {
            return !IsHeld;
        }
    }

    // False at the end. The thread that finds all vCPUs parked performs the requested reset.
    private bool WaitToGo()
    {
        lock (_lock)
        {
            while (!HasEnded)
            {
                if (_resetRequested && !_resetting && _insideCount == 0 && _stops == 0)
                {
                    Reset();
                }
                else if (IsHeld)
                {
                    Monitor.Wait(_lock);
                }
                else
                {
                    return true;
                }
            }

            return false;
        }
    }

    // Under the lock, which is released during the reset: a queue's worker that the reset waits for may end the run.
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

    private void Park(int vcpu)
    {
        lock (_lock)
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
    }

    private void Body(VcpuThread thread)
    {
        try
        {
            thread.Main();
        }
        catch (Exception e)
        {
            // A fault of the monitor's own, or a kernel file that can't be read any more at a reset: the caller of Run gets it.
            Fail(e);
        }
        finally
        {
            Park(thread.Vcpu.Id);
            Gate?.Leave(thread.Vcpu.Id);
        }
    }

    // Brings all vCPUs here.
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
}
