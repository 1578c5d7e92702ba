using Yadokari.Core.Devices;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;

namespace Yadokari.Boards.Pc;

/// <summary>The keyboard end of the serial port: keeps what is typed and feeds it in as the guest makes room.</summary>
internal sealed class ConsoleInput : IDevice
{
    // A driver that knows nothing of modem control gets no input for so long after it began to listen: it first clears away what came, and then lets
    // the interrupt through, whose edge it must not miss.
    private const long OpeningTime = 100_000_000;

    private readonly Serial16550 _serial;
    private readonly Lock _lock = new(); // Held while bytes go into the serial port, which calls nothing back from there.
    private readonly TypedBytes _waiting = new();
    private readonly IClock _clock;
    private readonly IAlarm _opened;
    private bool _isOpening;
    private bool _hasOpened;
    private bool _paused;

    internal ConsoleInput(Serial16550 serial, IClock clock)
    {
        _serial = serial;
        _clock = clock;
        _opened = clock.CreateAlarm(OnOpened);
        serial.Drained += OnDrained;
    }

    /// <summary>Types. Any thread; waits for nothing. Returns how many bytes there was room for.</summary>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            int taken = _waiting.Add(bytes);
            Pump();
            return taken;
        }
    }

    /// <inheritdoc/>
    public string Name => "com1-input";

    /// <inheritdoc/>
    public void Pause()
    {
        lock (_lock)
        {
            _paused = true;
        }
    }

    /// <inheritdoc/>
    public void Resume()
    {
        lock (_lock)
        {
            _paused = false;
            Pump();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _opened.Dispose();

    /// <summary>Forgets what the guest did not take yet.</summary>
    public void Reset()
    {
        _opened.Cancel();
        lock (_lock)
        {
            _waiting.Clear();
            _isOpening = false;
            _hasOpened = false;
        }
    }

    private void OnDrained()
    {
        lock (_lock)
        {
            if (_serial.IgnoresModemControl && !_hasOpened)
            {
                _hasOpened = true;
                _isOpening = true;
                _opened.Arm(_clock.Now + OpeningTime);
            }

            Pump();
        }
    }

    private void OnOpened()
    {
        lock (_lock)
        {
            _isOpening = false;
            Pump();
        }
    }

    private void Pump()
    {
        lock (_lock)
        {
            while (!_isOpening && !_paused && !_waiting.Next.IsEmpty && _serial.Receive(_waiting.Next) is int taken and > 0)
            {
                _waiting.Take(taken);
            }
        }
    }
}
