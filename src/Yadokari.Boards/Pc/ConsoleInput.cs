using Yadokari.Core.Devices;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;

namespace Yadokari.Boards.Pc;

/// <summary>The input of the serial port: buffers bytes and writes them into the receive FIFO as the guest makes room.</summary>
internal sealed class ConsoleInput : IDevice
{
    // Delay of input to a driver without modem control after it enables the receive interrupt: it clears the FIFO first, and then unmasks the
    // interrupt, whose edge it must not miss.
    private const long OpeningTime = 100_000_000;

    private readonly Serial16550 _serial;
    private readonly Lock _lock = new(); // Held while bytes go into the serial port, which calls nothing back from there.
    private readonly InputBuffer _waiting = new();
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

    /// <summary>Queues input. Any thread; does not block. Returns how many bytes the buffer had room for.</summary>
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

    /// <summary>Discards input that the guest has not read.</summary>
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
