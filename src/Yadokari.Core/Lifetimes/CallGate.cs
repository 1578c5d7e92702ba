namespace Yadokari.Core.Lifetimes;

/// <summary>
/// Lets the disposal of an object wait for calls in flight, and turns later ones away: what a call touches is not given back under it. Any
/// thread; entering and leaving allocate nothing and wait for nothing.
/// </summary>
public sealed class CallGate
{
    private const int Closed = int.MinValue;

    private int _calls; // In flight; from int.MinValue on once closed.

    /// <summary>Begins a call, to be ended by <see cref="Leave"/>. False once the gate is closed.</summary>
    public bool TryEnter()
    {
        if (Interlocked.Increment(ref _calls) > 0)
        {
            return true;
        }

        Leave();
        return false;
    }

    /// <summary>Begins a call, which ends with the scope.</summary>
    /// <param name="owner">The object that the gate belongs to.</param>
    /// <exception cref="ObjectDisposedException">The gate is closed.</exception>
    public Scope Enter(object owner)
    {
        ObjectDisposedException.ThrowIf(!TryEnter(), owner);
        return new Scope(this);
    }

    /// <summary>Ends a call.</summary>
    public void Leave() => Interlocked.Decrement(ref _calls);

    /// <summary>Turns calls away from now on, and waits for the end of those in flight: not to be called within one. False if it was closed before.</summary>
    public bool TryClose()
    {
        int calls = Volatile.Read(ref _calls);
        while (true)
        {
            if (calls < 0)
            {
                return false;
            }

            int seen = Interlocked.CompareExchange(ref _calls, calls + Closed, calls);
            if (seen == calls)
            {
                break;
            }

            calls = seen;
        }

        SpinWait wait = default;
        while (Volatile.Read(ref _calls) != Closed)
        {
            wait.SpinOnce();
        }

        return true;
    }

    /// <summary>A call in flight.</summary>
    public readonly ref struct Scope(CallGate gate)
    {
        /// <summary>Ends it.</summary>
        public void Dispose() => gate.Leave();
    }
}
