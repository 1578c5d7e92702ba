using Yadokari.Core.Buses;

namespace Yadokari.Devices.Timers;

/// <summary>
/// The interrupt line of a periodic timer, which can look ahead: an edge that comes while the one before still waits for a processor is
/// lost, and with it the guest's time, where the host is too busy to let the guest run in between.
/// </summary>
public interface ITickLine : IInterruptLine
{
    /// <summary>Whether an edge would be caught: the guest has not masked the line. Any thread, with no device's lock held.</summary>
    bool Listening { get; }

    /// <summary>Whether an edge was caught that no processor has taken yet. Any thread, with no device's lock held.</summary>
    bool Waiting { get; }
}
