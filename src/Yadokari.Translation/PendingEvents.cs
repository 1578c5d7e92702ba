using Yadokari.X86.State;

namespace Yadokari.Translation;

/// <summary>
/// Pending events of one vCPU (SDM 3A 6.7, 6.8): NMIs, the interrupt shadow, debug exceptions delayed by a load of SS, and an event injected by a
/// loaded state. Interrupts of the interrupt controller are not included. On the vCPU's thread, except members documented for any thread.
/// </summary>
internal sealed class PendingEvents
{
    private readonly Lock _nmiLock = new(); // Innermost.
    private int _nmis;
    private volatile bool _nmiBlocked;
    private PendingEvent? _injected;

    // Breakpoints hit by an instruction that loaded SS: they are pending until the end of the next instruction (SDM 3A 6.8.3), and are lost if
    // an event is delivered before that begins.
    private ulong _heldBreakpoints;
    private long _heldAt;

    /// <summary>Whether interrupts are blocked for one instruction: after STI, MOV SS, POP SS.</summary>
    public bool InterruptShadow { get; set; }

    /// <summary>Count of delivered exceptions, interrupts and INT n.</summary>
    public long Deliveries { get; private set; }

    /// <summary>Whether an NMI is pending and not blocked. Any thread.</summary>
    public bool HasNmi => Volatile.Read(ref _nmis) != 0 && !_nmiBlocked;

    /// <summary>Makes an NMI pending. Any thread.</summary>
    public void RaiseNmi()
    {
        // As in KVM, two NMIs may be pending, of which the second is taken after the first one's handler; while a handler runs, only one.
        lock (_nmiLock)
        {
            _nmis = Math.Min(_nmis + 1, _nmiBlocked ? 1 : 2);
        }
    }

    /// <summary>Takes a pending NMI for delivery and blocks further ones until <see cref="UnblockNmis"/>.</summary>
    public void TakeNmi()
    {
        lock (_nmiLock)
        {
            _nmis--;
            _nmiBlocked = true;
        }
    }

    /// <summary>Unblocks NMIs: IRET was executed.</summary>
    public void UnblockNmis() => _nmiBlocked = false;

    /// <summary>Whether a loaded state has an event to deliver before the first instruction.</summary>
    public bool HasInjected => _injected != null;

    /// <summary>Takes the event to deliver before the first instruction, if there is one.</summary>
    public bool TryTakeInjected(out PendingEvent injected)
    {
        injected = _injected.GetValueOrDefault();
        bool any = _injected != null;
        _injected = null;
        return any;
    }

    /// <summary>Counts a delivery.</summary>
    public void NoteDelivery() => Deliveries++;

    /// <summary>Delays breakpoints that an instruction hit (bits of DR6) until after the next one.</summary>
    /// <param name="hits">The breakpoints.</param>
    /// <param name="deliveries"><see cref="Deliveries"/> before the instruction began.</param>
    public void HoldBreakpoints(ulong hits, long deliveries)
    {
        _heldBreakpoints = hits;
        _heldAt = deliveries;
    }

    /// <summary>Takes the delayed breakpoints.</summary>
    /// <param name="deliveries"><see cref="Deliveries"/> before the current instruction began.</param>
    public ulong TakeBreakpoints(long deliveries)
    {
        ulong held = HeldBreakpoints(deliveries);
        _heldBreakpoints = 0;
        return held;
    }

    /// <summary>Saves the pending events.</summary>
    public void Save(X86State state)
    {
        (state.NmisPending, state.NmiBlocked) = (Volatile.Read(ref _nmis), _nmiBlocked);
        state.InterruptShadow = InterruptShadow;
        state.PendingDebugExceptions = HeldBreakpoints(Deliveries);
        state.PendingEvent = _injected;
    }

    /// <summary>Loads the pending events of a state that passed <see cref="Check"/>.</summary>
    public void Load(X86State state)
    {
        Volatile.Write(ref _nmis, state.NmisPending);
        _nmiBlocked = state.NmiBlocked;
        InterruptShadow = state.InterruptShadow;
        HoldBreakpoints(state.PendingDebugExceptions, Deliveries);
        _injected = state.PendingEvent;
    }

    /// <summary>Checks the pending events of a state.</summary>
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
