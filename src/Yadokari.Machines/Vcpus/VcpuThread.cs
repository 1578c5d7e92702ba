using System.Diagnostics;
using Yadokari.Boards;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.Devices.Interrupts;
using Yadokari.X86;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Machines.Vcpus;

/// <summary>One vCPU and its host thread: runs guest code, sleeps while the vCPU is halted, and handles INIT and start-up IPIs.</summary>
internal sealed class VcpuThread : IBoardVcpu
{
    private const int NoPage = -1;
    private const ulong InitLeavesOfCr0 = Cr0.CD | Cr0.NW;

    private readonly IX86Vcpu _vcpu;
    private readonly IVcpuThreadOwner _owner;
    private readonly X86State _afterReset = new();
    private readonly CallGate _gate = new(); // For calls from other threads.
    private readonly object _sleep = new(); // Innermost: only volatile reads are made while it is held. Guards the fields below.
    private bool _sleeping;
    private volatile bool _woken;
    private bool _initPending;
    private int _startPage = NoPage;
    private bool _awaitsStartUp; // Written by the vCPU's thread only, which reads it without the lock.

    private bool _halted;
    private bool _haltedWithInterruptsDisabled;
    private bool _shutDown;
    private long _sleptTicks;
    private long _halts;

    /// <summary>Creates the thread of a vCPU that is in its reset state.</summary>
    public VcpuThread(IX86Vcpu vcpu, IVcpuThreadOwner owner)
    {
        _vcpu = vcpu;
        _owner = owner;
        _vcpu.Save(_afterReset);
    }

    /// <summary>The vCPU.</summary>
    public IX86Vcpu Vcpu => _vcpu;

    /// <summary>The registers after reset. The caller must not change them; see <see cref="CopyOfReset"/>.</summary>
    public X86State AfterReset => _afterReset;

    /// <summary>Count of halts.</summary>
    public long Halts => Volatile.Read(ref _halts);

    /// <summary>Total time asleep.</summary>
    public TimeSpan Slept => Stopwatch.GetElapsedTime(0, Volatile.Read(ref _sleptTicks));

    /// <summary>A new copy of the registers after reset.</summary>
    public X86State CopyOfReset()
    {
        var state = new X86State();
        _afterReset.CopyTo(state);
        return state;
    }

    /// <summary>Sets the state in which the vCPU starts. Its thread must be parked, or not started yet.</summary>
    /// <param name="state">Its registers, or null to wait for a start-up IPI.</param>
    public void PowerOn(X86State? state)
    {
        if (state is null)
        {
            state = CopyOfReset();
            state.Activity = ActivityState.WaitForSipi;
        }

        bool waits = state.Activity == ActivityState.WaitForSipi;
        _vcpu.Load(state);
        _halted = _shutDown = false;
        lock (_sleep)
        {
            _awaitsStartUp = waits;
            _initPending = false;
            _startPage = NoPage;
        }
    }

    /// <summary>Rejects further calls, and waits for those in progress: the vCPU may be disposed when this returns.</summary>
    public void Close() => _gate.TryClose();

    /// <summary>Must be called when an interrupt may be pending. Any thread; no effect once closed.</summary>
    public void Notify()
    {
        if (!_gate.TryEnter())
        {
            return;
        }

        _vcpu.Notify();
        _gate.Leave();
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _sleeping))
        {
            lock (_sleep)
            {
                Monitor.Pulse(_sleep);
            }
        }
    }

    /// <summary>Makes the thread leave guest code, or wakes it, to call <see cref="IVcpuThreadOwner.Pass"/>. Any thread; no effect once closed.</summary>
    public void Wake()
    {
        if (!_gate.TryEnter())
        {
            return;
        }

        lock (_sleep)
        {
            _woken = true;
            Monitor.Pulse(_sleep);
        }

        _vcpu.Kick();
        _gate.Leave();
    }

    /// <summary>The thread's body: returns when the machine ended.</summary>
    public void Main()
    {
        while (_owner.Pass(this))
        {
            TakeMessages();
            if (_shutDown)
            {
                _owner.OnShutdown(this);
                continue;
            }

            if (_awaitsStartUp)
            {
                Sleep(interruptible: false);
                continue;
            }

            // A thread that is woken for another reason than an interrupt sleeps again; a debugger's step ends with HLT all the same.
            if (_halted && !HasInterrupt(_haltedWithInterruptsDisabled) && !_vcpu.SingleStep)
            {
                Sleep(interruptible: true);
                continue;
            }

            _halted = false;
            VmExit exit = _vcpu.Run();
            switch (exit)
            {
                case VmExit.Halted:
                    OnHalt(forGood: false);
                    break;
                case VmExit.HaltedWithInterruptsDisabled:
                    OnHalt(forGood: true);
                    break;
                case VmExit.Shutdown:
                    _shutDown = true; // Acted on once a debugger has let it pass.
                    _owner.OnDebug(this, exit);
                    break;
                case VmExit.Debug:
                    _owner.OnDebug(this, exit);
                    break;
            }
        }
    }

    private void OnHalt(bool forGood)
    {
        Volatile.Write(ref _halts, _halts + 1);
        if (_vcpu.SingleStep)
        {
            _owner.OnDebug(this, VmExit.Debug);
            return;
        }

        _halted = true;
        _haltedWithInterruptsDisabled = forGood;
    }

    private bool HasInterrupt(bool interruptsDisabled) => _vcpu.HasNmi || (!interruptsDisabled && _owner.HasInterrupt(Vcpu.Id));

    private void Sleep(bool interruptible)
    {
        long start = Stopwatch.GetTimestamp();
        lock (_sleep)
        {
            Volatile.Write(ref _sleeping, true);
            Interlocked.MemoryBarrier();
            while (!_woken && !(interruptible && HasInterrupt(_haltedWithInterruptsDisabled)))
            {
                Monitor.Wait(_sleep);
            }

            Volatile.Write(ref _sleeping, false);
            _woken = false;
        }

        Volatile.Write(ref _sleptTicks, _sleptTicks + (Stopwatch.GetTimestamp() - start));
    }

    // The bootstrap processor begins at the reset vector after INIT, the others wait for a start-up message (Intel SDM volume 3, 9.4.3).
    private bool IsBootstrap => _vcpu.Id == 0;

    /// <inheritdoc/>
    public void Nmi()
    {
        if (_gate.TryEnter())
        {
            _vcpu.RaiseNmi();
            _gate.Leave();
            Notify();
        }
    }

    /// <inheritdoc/>
    public void Init()
    {
        lock (_sleep)
        {
            _startPage = NoPage;
            _initPending = true;
        }

        Wake();
    }

    /// <inheritdoc/>
    public void StartUp(byte page)
    {
        lock (_sleep)
        {
            // Only the first start-up message after INIT counts (Intel SDM volume 3, 9.4.4).
            if (_startPage != NoPage || !(_awaitsStartUp || (_initPending && !IsBootstrap)))
            {
                return;
            }

            _startPage = page;
        }

        Wake();
    }

    private void TakeMessages()
    {
        bool init;
        int page = NoPage;
        lock (_sleep)
        {
            // At once: a start-up message finds an INIT that was not taken yet, or a vCPU that waits.
            init = _initPending;
            _initPending = false;
            _awaitsStartUp |= init && !IsBootstrap;
            if (_awaitsStartUp && _startPage != NoPage)
            {
                page = _startPage;
                _startPage = NoPage;
                _awaitsStartUp = false;
            }
        }

        if (init)
        {
            _vcpu.Load(AfterInit());
            _halted = _shutDown = false;
        }

        if (page != NoPage)
        {
            var state = new X86State();
            _vcpu.Save(state);
            state.Segments[1] = state.Segments[1] with { Selector = (ushort)(page << 8), Base = (ulong)page << 12 };
            state.Rip = 0;
            state.Activity = ActivityState.Active;
            _vcpu.Load(state);
        }
    }

    // As after reset but for what INIT leaves as it is: caching, x87 and vector state, model-specific registers (Intel SDM volume 3, table 10-1).
    private X86State AfterInit()
    {
        var before = new X86State();
        _vcpu.Save(before);
        X86State state = CopyOfReset();
        state.Activity = IsBootstrap ? ActivityState.Active : ActivityState.WaitForSipi;
        state.A20 = before.A20;
        state.Cr0 = (state.Cr0 & ~InitLeavesOfCr0) | (before.Cr0 & InitLeavesOfCr0);
        state.Xcr0 = before.Xcr0;
        state.Xsave = before.Xsave;
        foreach ((uint index, ulong value) in before.Msrs)
        {
            state.Msrs[index] = value;
        }

        return state;
    }
}
