using Yadokari.Core.Buses;

namespace Yadokari.Devices;

/// <summary>
/// A device's end of an interrupt line. A device changes the level under its own lock (<see cref="Put"/>) and tells the line after leaving it
/// (<see cref="Publish"/>), so that nothing downstream ever runs under a device's lock and yet levels arrive in the order they were put:
/// whoever publishes first does so for all who come meanwhile. Levels that came and went in between are not lost to an edge-triggered
/// input: the line sees the opposite level, then the last one.
/// </summary>
internal sealed class OutputPin(IInterruptLine line)
{
    private const int Level = 1;
    private const int Toggled = 2;

    private int _state;
    private int _publishers;
    private bool _shown; // Only the publishing thread touches it.

    /// <summary>Whether the pin was last put high. Exact under the device's lock.</summary>
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

    /// <summary>Lets the line see what was put. With no lock held.</summary>
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
