using System.Runtime.ExceptionServices;
using Yadokari.Core.Lifetimes;
using Yadokari.X86.State;

namespace Yadokari.Machines.Vcpus;

/// <summary>The run of all vCPUs from power-on to the machine's end, with resets between, at which all of them meet.</summary>
/// <param name="host">What the vCPUs ask.</param>
/// <param name="threads">Filled by the time of the run.</param>
/// <param name="restart">Puts the machine back to power-on. Called with all vCPUs parked.</param>
internal sealed class VcpuRun(VcpuHost host, VcpuThread[] threads, Action restart) : IVcpuThreadOwner
{
    private readonly object _lock = new(); // Guards what follows. Nothing is called inside it.
    private int _parked;
    private int _restarts;
    private MachineEnd? _end;
    private ExceptionDispatchInfo? _failure;
    private volatile bool _meet; // Somebody wants all vCPUs to stop: for a reset or for the end.

    /// <summary>Resets that the guest asked for.</summary>
    public int Restarts => Volatile.Read(ref _restarts);

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
            _meet = true;
            host.Gate?.Open();
            WakeAll();
            lock (_lock)
            {
                Monitor.PulseAll(_lock);
            }
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
        _meet = true;
        WakeAll();
    }

    /// <inheritdoc/>
    public bool Pass(VcpuThread thread)
    {
        while (true)
        {
            if (_meet)
            {
                // A vCPU that waits here for one that a debugger holds must not make the debugger wait for it.
                host.Gate?.Leave(thread.Vcpu.Id);
                if (!Meet())
                {
                    return false;
                }
            }

            host.Gate?.Enter(thread.Vcpu.Id);
            if (!_meet)
            {
                return true;
            }
        }
    }

    /// <inheritdoc/>
    public bool HasInterrupt(int vcpu) => host.HasInterrupt(vcpu);

    /// <inheritdoc/>
    public bool IsStepping(VcpuThread thread) => host.Gate?.IsStepping(thread.Vcpu.Id) == true;

    /// <inheritdoc/>
    public void OnDebug(VcpuThread thread) => host.Gate?.Debug(thread.Vcpu.Id);

    /// <inheritdoc/>
    public void OnShutdown(VcpuThread thread)
    {
        host.Gate?.Shutdown(thread.Vcpu.Id);
        var state = new X86State();
        thread.Vcpu.Save(state);
        End(new MachineEnd(EndReason.TripleFault) { Vcpu = thread.Vcpu.Id, State = state });
    }

    // Waits for all vCPUs; the last to come restarts the machine. False at the end.
    private bool Meet()
    {
        lock (_lock)
        {
            int restarts = _restarts;
            if (Volatile.Read(ref _end) is not null)
            {
                return false;
            }

            if (++_parked < threads.Length)
            {
                while (restarts == _restarts && Volatile.Read(ref _end) is null)
                {
                    Monitor.Wait(_lock);
                }

                return Volatile.Read(ref _end) is null;
            }

            _parked = 0;
            _meet = false;
        }

        // Without the lock: a queue's worker that the restart waits for may end the run.
        restart();
        lock (_lock)
        {
            _restarts++;
            Monitor.PulseAll(_lock);

            // An end that came while the guest was loaded again must not be lost.
            if (Volatile.Read(ref _end) is not null)
            {
                _meet = true;
            }

            return Volatile.Read(ref _end) is null;
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
            // A fault of the monitor's own, or a kernel file that vanished before a restart: the caller of Run gets it.
            Fail(e);
        }
        finally
        {
            host.Gate?.Leave(thread.Vcpu.Id);
        }
    }

    private void WakeAll()
    {
        foreach (VcpuThread thread in threads)
        {
            thread.Wake();
        }
    }
}
