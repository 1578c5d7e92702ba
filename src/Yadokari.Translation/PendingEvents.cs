using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>
/// Events that wait for one vCPU, in the terms of SDM 3A 6.7 and 6.8: NMIs, the interrupt shadow, debug exceptions that a load of SS holds
/// back, and an event that a saved state had on its way. What an interrupt controller holds is not here. Of the vCPU's thread, but for
/// what says any thread.
/// </summary>
internal sealed class PendingEvents
{
    private readonly Lock _nmiLock = new(); // Innermost.
    private int _nmis;
    private volatile bool _nmiBlocked;
    private PendingEvent? _injected;

    // Breakpoints that an instruction hit which loaded SS: they wait for the end of the next one (SDM 3A 6.8.3), and are lost if something
    // is delivered before it begins.
    private ulong _heldBreakpoints;
    private long _heldAt;

    /// <summary>Interrupts are held off until one more instruction has run: after STI, MOV SS, POP SS.</summary>
    public bool InterruptShadow { get; set; }

    /// <summary>Exceptions, interrupts and INT n delivered so far.</summary>
    public long Deliveries { get; private set; }

    /// <summary>An NMI can be taken now. Any thread.</summary>
    public bool HasNmi => Volatile.Read(ref _nmis) != 0 && !_nmiBlocked;

    /// <summary>An NMI arrives. Any thread.</summary>
    public void RaiseNmi()
    {
        // Of two that arrive at once both are taken, one by the other's handler's end (as KVM has it); while one is handled one waits.
        lock (_nmiLock)
        {
            _nmis = Math.Min(_nmis + 1, _nmiBlocked ? 1 : 2);
        }
    }

    /// <summary>Takes an NMI that is there for delivery: further ones wait until <see cref="UnblockNmis"/>.</summary>
    public void TakeNmi()
    {
        lock (_nmiLock)
        {
            _nmis--;
            _nmiBlocked = true;
        }
    }

    /// <summary>The handler of an NMI ended: IRET.</summary>
    public void UnblockNmis() => _nmiBlocked = false;

    /// <summary>Whether the vCPU has an event to deliver before its first instruction.</summary>
    public bool HasInjected => _injected != null;

    /// <summary>Takes the event to deliver before the first instruction, if there is one.</summary>
    public bool TryTakeInjected(out PendingEvent injected)
    {
        injected = _injected.GetValueOrDefault();
        bool any = _injected != null;
        _injected = null;
        return any;
    }

    /// <summary>Something was delivered: its handler begins.</summary>
    public void NoteDelivery() => Deliveries++;

    /// <summary>Holds breakpoints that an instruction hit, bits of DR6, for the next one; <paramref name="deliveries"/> is from before it began.</summary>
    public void HoldBreakpoints(ulong hits, long deliveries)
    {
        _heldBreakpoints = hits;
        _heldAt = deliveries;
    }

    /// <summary>Takes the breakpoints held, for an instruction before which so much had been delivered.</summary>
    public ulong TakeBreakpoints(long deliveries)
    {
        ulong held = HeldBreakpoints(deliveries);
        _heldBreakpoints = 0;
        return held;
    }

    /// <summary>Stores what waits.</summary>
    public void Save(X86State state)
    {
        (state.NmisPending, state.NmiBlocked) = (Volatile.Read(ref _nmis), _nmiBlocked);
        state.InterruptShadow = InterruptShadow;
        state.PendingDebugExceptions = HeldBreakpoints(Deliveries);
        state.PendingEvent = _injected;
    }

    /// <summary>Takes over what waits in a state that <see cref="Check"/> let pass.</summary>
    public void Load(X86State state)
    {
        Volatile.Write(ref _nmis, state.NmisPending);
        _nmiBlocked = state.NmiBlocked;
        InterruptShadow = state.InterruptShadow;
        HoldBreakpoints(state.PendingDebugExceptions, Deliveries);
        _injected = state.PendingEvent;
    }

    /// <summary>Refuses a state in which more waits than can.</summary>
    /// <exception cref="ArgumentException">The state can't be loaded.</exception>
    public static void Check(X86State state)
    {
        if (state.NmisPending is < 0 or > 2)
        {
            throw new ArgumentException($"{state.NmisPending} NMIs can't wait: give 0 to 2.", nameof(state));
        }

        if ((state.PendingDebugExceptions & ~X86.DebugRegisters.Breakpoints) != 0)
        {
            throw new ArgumentException($"Pending debug exceptions can't be {state.PendingDebugExceptions:X}: give bits 0 to 3.", nameof(state));
        }
    }

    private ulong HeldBreakpoints(long deliveries) => deliveries == _heldAt ? _heldBreakpoints : 0;
}
