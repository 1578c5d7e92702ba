using Yadokari.Core.Lifetimes;

namespace Yadokari.Devices.Virtio;

/// <summary>The thread that serves a virtqueue: sleeps until a kick. The first kick starts it; a stop ends it for good.</summary>
/// <param name="name">The thread's name.</param>
/// <param name="process">Called on the thread after a kick. Kicks that arrive during the call cause one more call.</param>
/// <param name="kicked">Called for a kick that arrives while <paramref name="process"/> runs; under the lock, so that there is no call after <see cref="Stop"/>.</param>
/// <param name="failed">As with <see cref="HostThread.Start"/>; the worker is stopped then.</param>
internal sealed class QueueWorker(string name, Action process, Action kicked, Action<Exception>? failed)
{
    private readonly object _lock = new(); // Innermost.
    private Thread? _thread;
    private Action? _stopped;
    private bool _kicked;
    private bool _busy;
    private bool _stopping;
    private bool _paused;

    /// <summary>Wakes the thread. Any thread; does not block.</summary>
    public void Kick()
    {
        lock (_lock)
        {
            if (_stopping)
            {
                return;
            }

            _kicked = true;
            if (_thread is null)
            {
                _thread = HostThread.Start(name, Main, failed is null ? null : Fail);
            }
            else if (_busy)
            {
                kicked();
            }
            else
            {
                Monitor.PulseAll(_lock);
            }
        }
    }

    /// <summary>Waits until the thread is idle; kicks stay pending until <see cref="Resume"/>. Not on the worker's thread.</summary>
    public void Pause()
    {
        lock (_lock)
        {
            _paused = true;
            while (_busy)
            {
                Monitor.Wait(_lock);
            }
        }
    }

    /// <summary>Ends a pause; pending kicks are processed.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            _paused = false;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Ends the thread. True if it is idle; else it calls <paramref name="stopped"/> once <c>process</c> has returned.</summary>
    public bool Stop(Action stopped)
    {
        lock (_lock)
        {
            _stopping = true;
            _stopped = _busy ? stopped : null;
            Monitor.PulseAll(_lock);
            return !_busy;
        }
    }

    /// <summary>Joins the thread, after <see cref="Stop"/>.</summary>
    public void Join() => _thread?.Join();

    private void Main()
    {
        while (WaitForKick())
        {
            process();
        }

        _stopped?.Invoke();
    }

    // A device reset that waits for this worker is completed, too.
    private void Fail(Exception error)
    {
        Action? stopped;
        lock (_lock)
        {
            (_stopping, _busy) = (true, false);
            Monitor.PulseAll(_lock);
            stopped = _stopped;
        }

        failed!(error);
        stopped?.Invoke();
    }

    private bool WaitForKick()
    {
        lock (_lock)
        {
            _busy = false;
            Monitor.PulseAll(_lock);
            while ((!_kicked || _paused) && !_stopping)
            {
                Monitor.Wait(_lock);
            }

            _kicked = false;
            _busy = !_stopping;
            return !_stopping;
        }
    }
}
