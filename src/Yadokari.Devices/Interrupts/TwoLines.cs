using Yadokari.Core.Buses;

namespace Yadokari.Devices.Interrupts;

/// <summary>A line that drives two inputs.</summary>
public sealed class TwoLines(IInterruptLine first, IInterruptLine second) : IInterruptLine
{
    /// <inheritdoc/>
    public void Set(bool asserted)
    {
        first.Set(asserted);
        second.Set(asserted);
    }
}
