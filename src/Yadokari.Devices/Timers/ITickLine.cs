using Yadokari.Core.Buses;

namespace Yadokari.Devices.Timers;

/// <summary>
/// The interrupt line of a periodic timer, whose state the timer can query: an edge that arrives while the one before is still pending is
/// coalesced, and the guest's clock loses a tick, when the host is too busy to run the guest in between.
/// </summary>
public interface ITickLine : IInterruptLine
{
    /// <summary>Whether the guest has unmasked the line. Any thread, with no device's lock held.</summary>
    bool IsUnmasked { get; }

    /// <summary>Whether an edge is pending that no processor has acknowledged yet. Any thread, with no device's lock held.</summary>
    bool IsPending { get; }
}
