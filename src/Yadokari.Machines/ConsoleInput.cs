using Yadokari.Devices.Serial;

namespace Yadokari.Machines;

/// <summary>The keyboard end of the serial port: takes whatever is typed and feeds it in as the guest makes room.</summary>
public sealed class ConsoleInput
{
    private readonly Serial16550 _serial;
    private readonly Lock _lock = new(); // Held while bytes go into the serial port, which calls nothing back from there.
    private readonly Queue<byte> _waiting = [];

    internal ConsoleInput(Serial16550 serial)
    {
        _serial = serial;
        serial.Drained += Pump;
    }

    /// <summary>Types. Any thread; takes all, and waits for nothing.</summary>
    public void Receive(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            foreach (byte b in bytes)
            {
                _waiting.Enqueue(b);
            }
        }

        Pump();
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
        Span<byte> piece = stackalloc byte[64];
        lock (_lock)
        {
            while (_waiting.Count > 0)
            {
                int count = 0;
                foreach (byte b in _waiting)
                {
                    if (count == piece.Length)
                    {
                        break;
                    }

                    piece[count++] = b;
                }

                int taken = _serial.Receive(piece[..count]);
                for (int i = 0; i < taken; i++)
                {
                    _waiting.Dequeue();
                }

                if (taken < count)
                {
                    return;
                }
            }
        }
    }
}
