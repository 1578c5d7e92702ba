using Yadokari.Core.Lifetimes;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Buffers the guest's output and writes it on a thread of its own, so that a vCPU needs no system call for each byte of a serial port. The
/// thread collects bytes for a millisecond before it writes. A device with flow control makes the guest wait until <see cref="HasRoom"/>; for
/// a device without, some more bytes fit, then <see cref="Write"/> blocks.
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
    /// <param name="write">Writes all of the bytes and returns 0, or returns an errno.</param>
    /// <param name="failed">Called once with that errno; later output is dropped.</param>
    /// <param name="threw">As with <see cref="HostThread.Start"/>; later output is dropped.</param>
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

    /// <summary>Raised on the pump's thread when there is room again after the buffer was full.</summary>
    public event Action? Ready;

    /// <summary>Whether less than 1 MiB is buffered, or output is dropped.</summary>
    public bool HasRoom => Volatile.Read(ref _count) < Full || _broken || _ending;

    /// <summary>Buffers output. Any thread. Blocks while somewhat more than 1 MiB is buffered.</summary>
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

    /// <summary>Waits until all output so far is written.</summary>
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

    /// <summary>Writes the buffered output and ends the thread.</summary>
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
