namespace Yadokari.Core.Lifetimes;

/// <summary>
/// Rundown protection: the disposal of an object waits for calls in flight and rejects later ones, so that a call's resources are not released
/// during it. Any thread; entering and leaving do not allocate and do not block.
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

    /// <summary>Rejects further calls, and waits for those in flight: not to be called within one. False if it was closed before.</summary>
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
