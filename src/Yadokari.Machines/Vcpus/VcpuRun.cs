using System.Runtime.ExceptionServices;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.X86.State;

namespace Yadokari.Machines.Vcpus;

/// <summary>
/// The run of all vCPUs from power-on to the machine's end. It is where their threads meet: before each entry into guest code they pass here, and are held
/// back while the machine is reset, while it is paused, and by a debugger.
/// </summary>
/// <param name="host">What the vCPUs ask.</param>
/// <param name="threads">Filled by the time of the run.</param>
/// <param name="reset">Puts the machine back to power-on. Called with all vCPUs parked, on one's thread.</param>
internal sealed class VcpuRun(IVcpuHost host, VcpuThread[] threads, Action reset) : IVcpuThreadOwner, IRunControl
{
    private readonly object _lock = new(); // Guards what follows. Nothing is called inside it.
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

    // Written without the lock, too.
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
    /// Pauses the vCPUs: when this returns none runs guest code, nor does until <see cref="Resume"/>. Any thread but a vCPU's, with no lock held that a device
    /// takes.
    /// </summary>
    /// <returns>False where the run has ended: nothing is to be resumed then.</returns>
    public bool Pause()
    {
        lock (_lock)
        {
            _paused = true;
        }

        return RecallAndWait();
    }

    /// <summary>Lets the vCPUs go on after <see cref="Pause"/>, but for those that a debugger holds. Any thread.</summary>
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

    // Under the lock. The thread that finds all vCPUs parked performs the requested reset; not while a debugger holds them all and looks at them.
    private bool IsResetDue => _resetRequested && !_resetting && _insideCount == 0 && !_paused && _held.Contains(false);

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
            // A fault of the monitor's own, or a kernel file that can't be read any more at a reset: the caller of Run gets it.
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

    // Brings all vCPUs here and waits until they are; false at the end.
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
