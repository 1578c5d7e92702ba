using Yadokari.Core.Lifetimes;

namespace Yadokari.Devices.Virtio;

/// <summary>The thread that serves a queue: sleeps until it is kicked. It begins with the first kick and ends for good when stopped.</summary>
/// <param name="name">The thread's.</param>
/// <param name="process">What to do after each kick. Kicks that come meanwhile make one more round.</param>
/// <param name="kicked">Is told of a kick that comes meanwhile; under the lock, so that none comes after <see cref="Stop"/>.</param>
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

    /// <summary>There is something to do. Any thread; returns at once.</summary>
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

    /// <summary>Waits until it does nothing; kicks wait for <see cref="Resume"/> from now on. Not on its thread.</summary>
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

    /// <summary>Goes on with what it was kicked for meanwhile.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            _paused = false;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Ends the thread. True if it does nothing any more; else <paramref name="stopped"/> is called once it is done.</summary>
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

    /// <summary>Waits for the thread's end, after <see cref="Stop"/>.</summary>
    public void Join() => _thread?.Join();

    private void Main()
    {
        while (WaitForKick())
        {
            process();
        }

        _stopped?.Invoke();
    }

    // A reset that waits for the worker must not wait for ever.
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
