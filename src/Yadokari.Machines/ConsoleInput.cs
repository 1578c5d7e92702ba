using Yadokari.Devices.Serial;

namespace Yadokari.Machines;

/// <summary>The keyboard end of the serial port: keeps what is typed and feeds it in as the guest makes room.</summary>
internal sealed class ConsoleInput
{
    private readonly Serial16550 _serial;
    private readonly Lock _lock = new(); // Held while bytes go into the serial port, which calls nothing back from there.
    private readonly TypedBytes _waiting = new();

    internal ConsoleInput(Serial16550 serial)
    {
        _serial = serial;
        serial.Drained += Pump;
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

    /// <summary>Forgets what the guest did not take yet.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            _waiting.Clear();
        }
    }

    private void Pump()
    {
        lock (_lock)
        {
            while (!_waiting.Next.IsEmpty && _serial.Receive(_waiting.Next) is int taken and > 0)
            {
                _waiting.Take(taken);
            }
        }
    }
}
