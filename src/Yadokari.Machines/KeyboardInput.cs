using Yadokari.Devices.Keyboard;

namespace Yadokari.Machines;

/// <summary>Hands at the keyboard: keeps strokes as they come and presses keys as the guest reads them.</summary>
public sealed class KeyboardInput
{
    private const int MaxWaiting = 4096;

    private readonly I8042 _controller;
    private readonly Lock _lock = new(); // Held while keys are pressed, which calls nothing back from there.
    private readonly Queue<byte[]> _waiting = [];

    internal KeyboardInput(I8042 controller)
    {
        _controller = controller;
        controller.Drained += Pump;
    }

    /// <summary>
    /// Presses and releases keys, all of a stroke together. Any thread; waits for nothing. Strokes that a guest does not read for too long
    /// are lost, as a keyboard loses them.
    /// </summary>
    /// <param name="stroke">Codes of <see cref="ScanCodes">set 2</see>, 64 at most.</param>
    public void Press(ReadOnlySpan<byte> stroke)
    {
        lock (_lock)
        {
            if (_waiting.Count < MaxWaiting)
            {
                _waiting.Enqueue(stroke.ToArray());
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
        lock (_lock)
        {
            while (_waiting.TryPeek(out byte[]? stroke) && _controller.Press(stroke))
            {
                _waiting.Dequeue();
            }
        }
    }
}
