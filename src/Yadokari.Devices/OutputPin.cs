using Yadokari.Core.Buses;

namespace Yadokari.Devices;

/// <summary>
/// A device's output to an interrupt line. A device changes the level under its own lock (<see cref="Put"/>) and drives the line after releasing
/// it (<see cref="Publish"/>), so that interrupt controllers are never called under a device's lock, and yet see levels in order: the first
/// publishing thread publishes for all that arrive during its call. A pulse in between is not lost to an edge-triggered input: the line gets the
/// opposite level, then the last one.
/// </summary>
internal sealed class OutputPin(IInterruptLine line)
{
    private const int Level = 1;
    private const int Toggled = 2;

    private int _state;
    private int _publishers;
    private bool _shown; // The level that the line has. Only the publishing thread accesses it.

    /// <summary>The level last set. Exact under the device's lock.</summary>
    public bool Asserted => (Volatile.Read(ref _state) & Level) != 0;

    /// <summary>Sets the level. Under the device's lock.</summary>
    public void Put(bool asserted)
    {
        int level = asserted ? Level : 0;
        int state = Volatile.Read(ref _state);
        while ((state & Level) != level)
        {
            int seen = Interlocked.CompareExchange(ref _state, level | Toggled, state);
            if (seen == state)
            {
                return;
            }

            state = seen;
        }
    }

    /// <summary>Drives the line with the level set. With no lock held.</summary>
    public void Publish()
    {
        if ((Volatile.Read(ref _state) & Toggled) == 0 || Interlocked.Increment(ref _publishers) != 1)
        {
            return;
        }

        int served;
        do
        {
            served = Volatile.Read(ref _publishers);
            Show();
        }
        while (Interlocked.Add(ref _publishers, -served) != 0);
    }

    private void Show()
    {
        int state = Interlocked.And(ref _state, ~Toggled);
        if ((state & Toggled) == 0)
        {
            return;
        }

        bool level = (state & Level) != 0;
        if (level == _shown)
        {
            line.Set(!level);
        }

        _shown = level;
        line.Set(level);
    }
}
