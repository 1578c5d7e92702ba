using Yadokari.Boards.Pc;
using Yadokari.Core.Configuration;

namespace Yadokari.Boards.Specs;

/// <summary>
/// A device that a user may ask for. All there is to say of a feature stands in its one file: how it is written (<see cref="Kind"/>), what it may be,
/// what of the host's it uses, and how it is wired.
/// </summary>
public abstract record DeviceSpec
{
    /// <summary>How devices of its kind are written.</summary>
    public abstract DeviceKind Kind { get; }

    /// <summary>Checks what does not depend on the host.</summary>
    /// <exception cref="ConfigurationException">It can't be; as <see cref="DeviceContext.Error"/> makes it.</exception>
    public virtual void Check(DeviceContext context)
    {
    }

    /// <summary>Opens its backend on the host.</summary>
    /// <param name="context">The machine.</param>
    /// <param name="failed">Called with an unexpected exception of a backend's thread; on that thread.</param>
    /// <returns>What <see cref="Attach"/> gets; null for nothing.</returns>
    /// <exception cref="Core.UserErrorException">A resource of the device can't be opened.</exception>
    public virtual IDisposable? Open(DeviceContext context, Action<Exception> failed) => null;

    /// <summary>Attaches it to a board.</summary>
    /// <param name="board">The board.</param>
    /// <param name="context">The machine.</param>
    /// <param name="opened">What <see cref="Open"/> returned. Not owned.</param>
    public abstract void Attach(PcBoard board, DeviceContext context, IDisposable? opened);
}

/// <summary>A device among those of its machine.</summary>
/// <param name="machine">The machine.</param>
/// <param name="spec">The device.</param>
/// <param name="number">Which of its kind, from 0.</param>
public readonly struct DeviceContext(MachineSpec machine, DeviceSpec spec, int number)
{
    /// <summary>The machine.</summary>
    public MachineSpec Machine => machine;

    /// <summary>Which of its kind, from 0.</summary>
    public int Number => number;

    /// <summary>Where it stands in the specification: a JSON pointer.</summary>
    public string Field => spec.Kind.Repeats ? $"/{spec.Kind.Name}/{number}" : $"/{spec.Kind.Name}";

    /// <summary>An error of the device, or of a member.</summary>
    public ConfigurationException Error(string problem, string remedy, string? member = null) => new(member is null ? Field : $"{Field}/{member}", problem, remedy);

    /// <summary>Refuses more devices of its kind than a board has room for.</summary>
    /// <exception cref="ConfigurationException">There are more.</exception>
    public void CheckCount(int most, string what)
    {
        if (number == most)
        {
            DeviceSpec self = spec;
            int count = machine.Devices.Count(d => d.Kind == self.Kind);
            throw new ConfigurationException($"/{spec.Kind.Name}", $"{count} {what} are more than a machine has room for", $"give {most} at most");
        }
    }
}
