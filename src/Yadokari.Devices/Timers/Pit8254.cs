using Yadokari.Core.Buses;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Timers;

/// <summary>The three counters of an Intel 8254 and the port that gates the third.</summary>
public sealed class Pit8254 : IDisposable
{
    /// <summary>The frequency all three counters count at.</summary>
    public const long Hz = 1_193_182;

    /// <summary>Wires the timer.</summary>
    /// <param name="clock">Its oscillator.</param>
    /// <param name="irq0">The output of counter 0.</param>
    public Pit8254(IClock clock, IInterruptLine irq0)
    {
        Counters = new BytePorts(4, static _ => 0, static (_, _) => { });
        SystemControl = new BytePorts(1, static _ => 0, static (_, _) => { });
    }

    /// <summary>Ports 0x40 to 0x43.</summary>
    public IBusDevice Counters { get; }

    /// <summary>Port 0x61: gate and output of counter 2, speaker.</summary>
    public IBusDevice SystemControl { get; }

    /// <summary>The state a PC's firmware would leave off at: all counters stopped.</summary>
    public void Reset()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
