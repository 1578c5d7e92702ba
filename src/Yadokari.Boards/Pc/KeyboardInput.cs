using Yadokari.Core.Devices;
using Yadokari.Devices.Keyboard;

namespace Yadokari.Boards.Pc;

/// <summary>A buffer of keystrokes before the emulated keyboard: presses keys as the guest reads them.</summary>
public sealed class KeyboardInput : IDevice
{
    private const int MaxWaiting = 4096;

    private readonly I8042 _controller;
    private readonly Lock _lock = new(); // Held while keys are pressed, which calls nothing back from there.
    private readonly Queue<byte[]> _waiting = [];
    private bool _paused;

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

    /// <inheritdoc/>
    public string Name => "keyboard-input";

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
        }

        Pump();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>Discards strokes that the guest has not read.</summary>
    public void Reset()
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
            while (!_paused && _waiting.TryPeek(out byte[]? stroke) && _controller.Press(stroke))
            {
                _waiting.Dequeue();
            }
        }
    }
}
