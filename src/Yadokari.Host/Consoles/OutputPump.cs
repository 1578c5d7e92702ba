using Yadokari.Core.Lifetimes;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Carries the guest's output away from the vCPU's thread: a serial port sends byte by byte, and a system call for each would be the
/// slowest thing it does. Bytes wait a millisecond for company. A device that asks makes the guest wait for <see cref="HasRoom"/>; those of one
/// that does not still have some room, and then wait.
/// </summary>
internal sealed class OutputPump : IDisposable
{
    private const int Full = 1 << 20;
    private const int Capacity = Full + (1 << 16);

    private readonly Lock _lock = new();
    private readonly Func<ReadOnlySpan<byte>, int> _write;
    private readonly Action<int> _failed;
    private readonly AutoResetEvent _filled = new(false);
    private readonly ManualResetEventSlim _drained = new(true);
    private readonly Thread _thread;
    private byte[] _filling = new byte[4096];
    private byte[] _writing = new byte[4096];
    private int _count;
    private bool _isWriting;
    private volatile bool _ending;
    private volatile bool _broken;

    /// <summary>Starts the pump.</summary>
    /// <param name="write">Writes all of the bytes, or returns the errno that stopped it.</param>
    /// <param name="failed">Called once with that errno; output after it is dropped.</param>
    /// <param name="threw">As with <see cref="HostThread.Start"/>; output after it is dropped.</param>
    public OutputPump(Func<ReadOnlySpan<byte>, int> write, Action<int> failed, Action<Exception>? threw = null)
    {
        _write = write;
        _failed = failed;
        _thread = HostThread.Start("console output", Pump, threw is null ? null : Throw);

        void Throw(Exception error)
        {
            _broken = true;
            _drained.Set();
            Ready?.Invoke();
            threw(error);
        }
    }

    /// <summary>There is room again after there was none. On the pump's thread.</summary>
    public event Action? Ready;

    /// <summary>Whether less than a mebibyte waits, or output is dropped anyway.</summary>
    public bool HasRoom => Volatile.Read(ref _count) < Full || _broken || _ending;

    /// <summary>Takes output. Any thread; waits while a good mebibyte is waiting already.</summary>
    public void Write(ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty && !_broken && !_ending)
        {
            bool wake;
            lock (_lock)
            {
                int piece = Math.Min(data.Length, Capacity - _count);
                if (_filling.Length < _count + piece)
                {
                    Array.Resize(ref _filling, Math.Min(Capacity, Math.Max(_count + piece, _filling.Length * 2)));
                }

                wake = _count == 0 && piece > 0;
                data[..piece].CopyTo(_filling.AsSpan(_count));
                _count += piece;
                data = data[piece..];
                if (!data.IsEmpty)
                {
                    _drained.Reset();
                }
            }

            if (wake)
            {
                _filled.Set();
            }

            if (!data.IsEmpty)
            {
                _drained.Wait();
            }
        }
    }

    /// <summary>Waits until what was given so far is written.</summary>
    public void Flush()
    {
        while (!_broken && !_ending)
        {
            lock (_lock)
            {
                if (_count == 0 && !_isWriting)
                {
                    return;
                }
            }

            Thread.Sleep(1);
        }
    }

    /// <summary>Writes what is waiting and ends the thread.</summary>
    public void Dispose()
    {
        if (!_ending)
        {
            _ending = true;
            _filled.Set();
            _thread.Join();
        }
    }

    private void Pump()
    {
        while (true)
        {
            if (!_ending)
            {
                _filled.WaitOne();
                if (!_ending)
                {
                    Thread.Sleep(1);
                }
            }

            int count;
            lock (_lock)
            {
                (_filling, _writing) = (_writing, _filling);
                count = _count;
                _count = 0;
                _isWriting = count > 0;
                _drained.Set();
            }

            if (count >= Full)
            {
                Ready?.Invoke();
            }

            if (count == 0 && _ending)
            {
                return;
            }

            if (!_broken && count > 0 && _write(_writing.AsSpan(0, count)) is int error and not 0)
            {
                _broken = true;
                _failed(error);
            }

            lock (_lock)
            {
                _isWriting = false;
            }
        }
    }
}
