using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;

namespace Yadokari.Debugging;

/// <summary>
/// The gate that every vCPU thread of a machine passes before it enters guest code, and at which a debugger stops it. The loop of a vCPU
/// calls <see cref="Enter"/> before each <see cref="IX86Vcpu.Run"/> and each wait in HLT, <see cref="Report"/> on
/// <see cref="VmExit.Debug"/> and on <see cref="VmExit.Shutdown"/> (before acting on it), <see cref="Leave"/> when its thread ends; the
/// machine calls <see cref="Open"/> when it begins to end and <see cref="Finish"/> when it has. A vCPU that was woken from HLT only to
/// pass the gate goes back to its wait after it. Without a debugger all this costs an uncontended lock.
/// </summary>
public sealed class DebugGate : IDebugTarget
{
    // Guards everything below. No callback runs under it but the listener's, whose contract forbids calling back.
    private readonly object _lock = new();
    private readonly IReadOnlyList<IX86Vcpu> _vcpus;
    private readonly IX86VcpuHost _host;
    private readonly Action<int> _wake;
    private readonly Action _kill;
    private readonly VcpuAction[] _actions;
    private readonly bool[] _stepping;
    private readonly bool[] _inside;
    private int _insideCount;
    private bool _stopping;
    private bool _announced;
    private bool _detaching;
    private bool _open;
    private bool _finished;
    private DebugStop _why;
    private Action<DebugStop>? _listener;

    /// <summary>Makes the gate of a machine that is about to run.</summary>
    /// <param name="vcpus">All vCPUs, by index.</param>
    /// <param name="memory">Guest RAM.</param>
    /// <param name="host">Holds CR8.</param>
    /// <param name="wake">
    /// Brings a vCPU's thread to the gate soon: <see cref="IX86Vcpu.Kick"/>, and the end of a wait in HLT. Called on any thread, with no lock
    /// held, also when the vCPU is not running or its thread does not exist.
    /// </param>
    /// <param name="kill">Ends the machine; returns at once.</param>
    /// <param name="startStopped">Whether all vCPUs are stopped until a debugger attaches and resumes them.</param>
    public DebugGate(IReadOnlyList<IX86Vcpu> vcpus, GuestMemory memory, IX86VcpuHost host, Action<int> wake, Action kill, bool startStopped = false)
    {
        _vcpus = vcpus;
        Memory = memory;
        _host = host;
        _wake = wake;
        _kill = kill;
        _actions = new VcpuAction[vcpus.Count];
        _stepping = new bool[vcpus.Count];
        _inside = new bool[vcpus.Count];
        Array.Fill(_actions, VcpuAction.Run);
        _stopping = _announced = startStopped;
        _why = new DebugStop(0, DebugStopReason.Requested);
    }

    /// <inheritdoc/>
    public int VcpuCount => _vcpus.Count;

    /// <inheritdoc/>
    public GuestMemory Memory { get; }

    /// <inheritdoc/>
    public IX86Vcpu Vcpu(int index) => _vcpus[index];

    /// <inheritdoc/>
    public byte ReadTaskPriority(int vcpu) => _host.ReadTaskPriority(vcpu);

    /// <inheritdoc/>
    public void WriteTaskPriority(int vcpu, byte value) => _host.WriteTaskPriority(vcpu, value);

    /// <summary>
    /// Whether a vCPU is executing a single step. Its machine then withholds interrupts (<see cref="IX86VcpuHost.HasInterrupt"/> gives false),
    /// lest every step in a kernel end in the timer's handler, and reports HLT as the end of the step instead of waiting. Any thread.
    /// </summary>
    public bool IsStepping(int vcpu) => Volatile.Read(ref _stepping[vcpu]);

    /// <summary>Called by a vCPU's thread before it runs guest code or waits in HLT: blocks while the machine is stopped.</summary>
    public void Enter(int vcpu)
    {
        lock (_lock)
        {
            Park(vcpu);
            AwaitLeave(vcpu);
        }
    }

    /// <summary>
    /// Called by a vCPU's thread that met a breakpoint, the end of a step or a triple fault: stops the machine and returns when the debugger
    /// lets this vCPU go on. Returns at once where no debugger is attached.
    /// </summary>
    public void Report(int vcpu, DebugStopReason reason)
    {
        bool first;
        lock (_lock)
        {
            if (_listener is null || _open)
            {
                return;
            }

            first = !_stopping;
            if (first || (!_announced && _why.Reason == DebugStopReason.Requested))
            {
                _why = new DebugStop(vcpu, reason);
            }

            _stopping = true;
            _announced &= !first;
        }

        if (first)
        {
            WakeAllBut(vcpu);
        }

        Enter(vcpu);
    }

    /// <summary>
    /// Called by a vCPU's thread as it ends, and before it waits for other vCPUs anywhere but here (to meet them for a reset, say): from
    /// then until its next <see cref="Enter"/> a debugger does not wait for it.
    /// </summary>
    public void Leave(int vcpu)
    {
        lock (_lock)
        {
            Park(vcpu);
        }
    }

    /// <summary>
    /// Called by the machine when it begins to end: no thread is held back from now on, and nothing is announced but
    /// <see cref="Finish"/>. Any thread; may be called again.
    /// </summary>
    public void Open()
    {
        lock (_lock)
        {
            _open = true;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Called by the machine when it ends, before its vCPUs are disposed: lets every held thread go and tells the debugger.</summary>
    public void Finish(int exitCode)
    {
        lock (_lock)
        {
            if (!_finished)
            {
                _open = _finished = true;
                _why = new DebugStop(0, DebugStopReason.Ended, exitCode);
                _listener?.Invoke(_why);
                Monitor.PulseAll(_lock);
            }
        }
    }

    /// <inheritdoc/>
    public void Attach(Action<DebugStop> stopped)
    {
        lock (_lock)
        {
            if (_listener is not null)
            {
                throw new InvalidOperationException("a debugger is attached already");
            }

            _listener = stopped;
            if (_finished || (_stopping && _announced && !_open))
            {
                stopped(_why);
                return;
            }

            // If the detach of the last debugger is not complete, its pending stop becomes this debugger's.
            _why = new DebugStop(0, DebugStopReason.Requested);
        }

        Stop();
    }

    /// <inheritdoc/>
    public void Stop()
    {
        lock (_lock)
        {
            if (_stopping || _open)
            {
                return;
            }

            _stopping = true;
            _announced = false;
            _why = new DebugStop(0, DebugStopReason.Requested);
            AnnounceIfAllParked();
        }

        WakeAllBut(-1);
    }

    /// <inheritdoc/>
    public void Resume(ReadOnlySpan<VcpuAction> actions)
    {
        lock (_lock)
        {
            if (_open)
            {
                return;
            }

            if (!_stopping || !_announced)
            {
                throw new InvalidOperationException("the machine is not stopped");
            }

            for (int i = 0; i < _actions.Length; i++)
            {
                _actions[i] = actions[i];
                bool step = actions[i] == VcpuAction.Step;
                Volatile.Write(ref _stepping[i], step);
                _vcpus[i].SingleStep = step;
            }

            _stopping = false;
            Monitor.PulseAll(_lock);
        }
    }

    /// <inheritdoc/>
    public void Detach()
    {
        lock (_lock)
        {
            _listener = null;
            if (_open)
            {
                return;
            }

            // The vCPUs stop once more, if they are running, so that their breakpoints can be dropped.
            _detaching = true;
            _stopping = true;
            _announced = false;
            AnnounceIfAllParked();
        }

        WakeAllBut(-1);
    }

    /// <inheritdoc/>
    public void Kill() => _kill();

    private void Park(int vcpu)
    {
        if (_inside[vcpu])
        {
            _inside[vcpu] = false;
            _insideCount--;
        }

        AnnounceIfAllParked();
    }

    private void AwaitLeave(int vcpu)
    {
        while (!_open && (_stopping || _actions[vcpu] == VcpuAction.Stay))
        {
            Monitor.Wait(_lock);
        }

        _inside[vcpu] = true;
        _insideCount++;
    }

    private void AnnounceIfAllParked()
    {
        if (!_stopping || _announced || _insideCount != 0 || _open)
        {
            return;
        }

        if (_detaching)
        {
            _detaching = false;
            foreach (IX86Vcpu vcpu in _vcpus)
            {
                vcpu.SetBreakpoints([]);
                vcpu.SingleStep = false;
            }

            Array.Fill(_actions, VcpuAction.Run);
            Array.Clear(_stepping);
            if (_listener is null)
            {
                _stopping = false;
                Monitor.PulseAll(_lock);
                return;
            }
        }

        _announced = true;
        _listener?.Invoke(_why);
    }

    private void WakeAllBut(int vcpu)
    {
        for (int i = 0; i < _vcpus.Count; i++)
        {
            if (i != vcpu)
            {
                _wake(i);
            }
        }
    }
}
