using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;

namespace Yadokari.Debugging;

/// <summary>
/// The debugger's view of a machine. All vCPUs stop and resume together. One debugger at a time may attach. It must call the members that stop the
/// machine, resume it or access vCPUs from one thread at a time, which must not be a vCPU's.
/// </summary>
public sealed class DebugTarget
{
    private static readonly DebugStop s_requested = new(0, DebugStopReason.Requested);

    private readonly Lock _lock = new(); // Guards the fields below. Run control's lock may be taken while it is held; nothing is waited for.
    private readonly IReadOnlyList<IX86Vcpu> _vcpus;
    private readonly IX86VcpuHost _host;
    private readonly IRunControl _control;
    private readonly Action _kill;
    private bool _isStopped;
    private DebugStop? _report; // The first since the last stop.
    private DebugStop? _end;
    private Action? _reported;

    /// <summary>Creates the view of a machine that is about to run.</summary>
    /// <param name="vcpus">All vCPUs, by index.</param>
    /// <param name="memory">Guest RAM.</param>
    /// <param name="host">Holds CR8.</param>
    /// <param name="control">Stops and resumes the vCPUs.</param>
    /// <param name="kill">Ends the machine; returns at once.</param>
    /// <param name="startStopped">Whether all vCPUs are stopped until a debugger attaches and resumes them.</param>
    public DebugTarget(IReadOnlyList<IX86Vcpu> vcpus, GuestMemory memory, IX86VcpuHost host, IRunControl control, Action kill, bool startStopped = false)
    {
        _vcpus = vcpus;
        Memory = memory;
        _host = host;
        _control = control;
        _kill = kill;
        control.DebugExit = Report;
        _isStopped = startStopped && control.HoldAll();
    }

    /// <summary>Number of vCPUs; constant.</summary>
    public int VcpuCount => _vcpus.Count;

    /// <summary>Guest RAM, for page walks.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Whether <see cref="Stop"/> has a report: an event on a vCPU stops the machine, or the machine has ended. Any thread.</summary>
    public bool HasReport
    {
        get
        {
            lock (_lock)
            {
                return (_end ?? _report) is not null;
            }
        }
    }

    /// <summary>A vCPU. Valid only between <see cref="Stop"/> and the next <see cref="Resume"/> or <see cref="Detach"/>.</summary>
    public IX86Vcpu Vcpu(int index) => _vcpus[index];

    /// <summary>CR8 of a vCPU, 0 to 15. Its local APIC holds it.</summary>
    public byte ReadTaskPriority(int vcpu) => _host.ReadTaskPriority(vcpu);

    /// <summary>Sets CR8 of a vCPU, 0 to 15.</summary>
    public void WriteTaskPriority(int vcpu, byte value) => _host.WriteTaskPriority(vcpu, value);

    /// <summary>Begins debugging. Any thread.</summary>
    /// <param name="reported">
    /// Called when <see cref="HasReport"/> becomes true, so that the debugger calls <see cref="Stop"/>. On a vCPU's thread or the one that ends the machine,
    /// with the target's lock held: it must return soon, and must not call the target.
    /// </param>
    /// <exception cref="InvalidOperationException">A debugger is attached already.</exception>
    public void Attach(Action reported)
    {
        lock (_lock)
        {
            if (_reported is not null)
            {
                throw new InvalidOperationException("a debugger is attached already");
            }

            _reported = reported;
        }
    }

    /// <summary>Stops the machine, if it is not stopped, and waits until every vCPU has left guest code.</summary>
    /// <returns>The reason; null if the machine is about to end, which will be reported.</returns>
    public DebugStop? Stop()
    {
        bool isStopped = _control.HoldAll();
        lock (_lock)
        {
            _isStopped = isStopped;
            DebugStop? why = _end ?? (isStopped ? _report ?? s_requested : null);
            _report = null;
            return why;
        }
    }

    /// <summary>Resumes the machine, which must be stopped.</summary>
    /// <param name="actions">One for each vCPU; at least one must not be <see cref="VcpuAction.Stay"/>.</param>
    /// <exception cref="InvalidOperationException">It is not stopped.</exception>
    public void Resume(ReadOnlySpan<VcpuAction> actions)
    {
        lock (_lock)
        {
            if (!_isStopped)
            {
                throw new InvalidOperationException("the machine is not stopped");
            }

            bool[] stay = new bool[VcpuCount];
            for (int i = 0; i < VcpuCount; i++)
            {
                _vcpus[i].SingleStep = actions[i] == VcpuAction.Step;
                stay[i] = actions[i] == VcpuAction.Stay;
            }

            _isStopped = false;
            _control.Release(stay);
        }
    }

    /// <summary>
    /// Ends debugging: removes all breakpoints (a running machine is stopped briefly for that) and resumes all vCPUs. Nothing is reported afterwards.
    /// </summary>
    public void Detach()
    {
        Stop();
        lock (_lock)
        {
            _reported = null;
            if (_isStopped)
            {
                foreach (IX86Vcpu vcpu in _vcpus)
                {
                    vcpu.SetBreakpoints([]);
                }

                Resume([.. Enumerable.Repeat(VcpuAction.Run, VcpuCount)]);
            }
        }
    }

    /// <summary>Ends the machine as if its power were cut; returns at once.</summary>
    public void Kill() => _kill();

    /// <summary>Reports the end of the machine. Called by the machine's owner after its run, before the vCPUs are disposed.</summary>
    /// <param name="exitCode">The exit code that the user will see.</param>
    public void Finish(int exitCode)
    {
        lock (_lock)
        {
            _end ??= new DebugStop(0, DebugStopReason.Ended, exitCode);
            _reported?.Invoke();
        }
    }

    // On the vCPU's thread. The vCPU is held even if another vCPU reported first: it meets its breakpoint again when it resumes.
    private bool Report(int vcpu, VmExit exit)
    {
        lock (_lock)
        {
            if (_reported is null)
            {
                return false;
            }

            if (_report is null)
            {
                _report = new DebugStop(vcpu, exit == VmExit.Shutdown ? DebugStopReason.Shutdown : DebugStopReason.Debug);
                _reported();
            }

            return true;
        }
    }
}
