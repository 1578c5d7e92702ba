namespace Yadokari.Host.Control;

/// <summary>An event of a machine, as <c>GET /events</c> sends it.</summary>
/// <param name="Time">When it happened.</param>
/// <param name="Event"><c>started</c>, <c>reset</c>, <c>paused</c>, <c>resumed</c>, <c>power-button</c>, <c>ended</c>, or the name of a resource that was set.</param>
/// <param name="Target">For a resource: the value that was set.</param>
/// <param name="ExitCode">For <c>ended</c>: see <see cref="ExitCodes"/>.</param>
internal sealed record RunEvent(DateTimeOffset Time, string Event, ulong? Target = null, int? ExitCode = null);

/// <summary>Distributes a machine's events to listeners. Any thread; publishing never blocks.</summary>
internal sealed class RunEvents
{
    private readonly Lock _lock = new();
    private readonly List<Listener> _listeners = []; // Guarded by _lock.
    private RunEvent? _last; // Guarded by _lock.
    private bool _over; // Guarded by _lock.

    /// <summary>Adds an event to each listener's queue.</summary>
    public void Publish(RunEvent happened)
    {
        lock (_lock)
        {
            _last = happened;
            _listeners.RemoveAll(l => !l.TryAdd(happened));
        }
    }

    /// <summary>Ends the stream: a listener ends after it has taken the queued events.</summary>
    public void Complete()
    {
        lock (_lock)
        {
            _over = true;
            _listeners.ForEach(l => l.End());
            _listeners.Clear();
        }
    }

    /// <summary>Creates a listener, which receives the last event first, if there was one. The caller disposes of it.</summary>
    public Listener Listen()
    {
        lock (_lock)
        {
            var listener = new Listener(this);
            if (_last is { } last)
            {
                listener.TryAdd(last);
            }

            if (_over)
            {
                listener.End();
            }
            else
            {
                _listeners.Add(listener);
            }

            return listener;
        }
    }

    /// <summary>A queue of events. A listener that falls 256 events behind receives no more.</summary>
    internal sealed class Listener(RunEvents events) : IDisposable
    {
        private const int MaxQueued = 256;

        private readonly object _lock = new(); // Taken inside the lock of the events. Pulsed for each event.
        private readonly Queue<RunEvent> _waiting = [];
        private bool _ended;

        /// <summary>Waits for the next event and takes it.</summary>
        /// <param name="timeout">The longest time to wait.</param>
        /// <param name="ended">Whether no more events follow.</param>
        /// <returns>The event; null if the time is over or the stream has ended.</returns>
        public RunEvent? Take(TimeSpan timeout, out bool ended)
        {
            lock (_lock)
            {
                if (_waiting.Count == 0 && !_ended)
                {
                    Monitor.Wait(_lock, timeout);
                }

                bool any = _waiting.TryDequeue(out RunEvent? next);
                ended = !any && _ended;
                return next;
            }
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            lock (events._lock)
            {
                events._listeners.Remove(this);
            }
        }

        /// <summary>Adds an event. False if the queue is full, which ends the listener.</summary>
        internal bool TryAdd(RunEvent happened)
        {
            lock (_lock)
            {
                if (_waiting.Count == MaxQueued)
                {
                    _ended = true;
                }
                else
                {
                    _waiting.Enqueue(happened);
                }

                Monitor.Pulse(_lock);
                return !_ended;
            }
        }

        /// <summary>Ends the listener after the queued events.</summary>
        internal void End()
        {
            lock (_lock)
            {
                _ended = true;
                Monitor.Pulse(_lock);
            }
        }
    }
}
