namespace Yadokari.Host.Control;

/// <summary>Something that happened to a machine, as <c>GET /events</c> tells of it.</summary>
/// <param name="Time">When.</param>
/// <param name="Event"><c>started</c>, <c>reset</c>, <c>paused</c>, <c>resumed</c>, <c>power-button</c>, <c>ended</c>, or the name of a resource that was set.</param>
/// <param name="Target">What that was set to.</param>
/// <param name="ExitCode">Of <c>ended</c>: see <see cref="ExitCodes"/>.</param>
internal sealed record RunEvent(DateTimeOffset Time, string Event, ulong? Target = null, int? ExitCode = null);

/// <summary>What happens to a machine, for those who listen. Any thread; publishing waits for nobody.</summary>
internal sealed class RunEvents
{
    private readonly Lock _lock = new();
    private readonly List<Listener> _listeners = []; // Guarded by _lock.
    private RunEvent? _last; // Guarded by _lock.
    private bool _over; // Guarded by _lock.

    /// <summary>Tells everybody who listens.</summary>
    public void Publish(RunEvent happened)
    {
        lock (_lock)
        {
            _last = happened;
            _listeners.RemoveAll(l => !l.TryAdd(happened));
        }
    }

    /// <summary>No more events come: listeners end once they have taken those that there are.</summary>
    public void Complete()
    {
        lock (_lock)
        {
            _over = true;
            _listeners.ForEach(l => l.End());
            _listeners.Clear();
        }
    }

    /// <summary>Begins to listen: with the last event, if there was one. The caller disposes of the listener.</summary>
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

    /// <summary>The events for one who listens. One who falls far behind hears no more.</summary>
    internal sealed class Listener(RunEvents events) : IDisposable
    {
        private const int Most = 256;

        private readonly object _lock = new(); // Inside that of the events: waits for what is added.
        private readonly Queue<RunEvent> _waiting = [];
        private bool _ended;

        /// <summary>Takes the next event; waits for it.</summary>
        /// <param name="patience">How long to wait at most.</param>
        /// <param name="ended">Whether no more come.</param>
        /// <returns>The event; null where there is none yet, or none any more.</returns>
        public RunEvent? Take(TimeSpan patience, out bool ended)
        {
            lock (_lock)
            {
                if (_waiting.Count == 0 && !_ended)
                {
                    Monitor.Wait(_lock, patience);
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

        /// <summary>Adds an event. False where too many are waiting, which ends the listener.</summary>
        internal bool TryAdd(RunEvent happened)
        {
            lock (_lock)
            {
                if (_waiting.Count == Most)
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

        /// <summary>No more come.</summary>
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
