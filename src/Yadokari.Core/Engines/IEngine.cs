namespace Yadokari.Core.Engines;

/// <summary>Whether an engine can run on this host and, if not, the one sentence that says why.</summary>
public readonly record struct Support(bool Available, string Reason)
{
    /// <summary>The engine can run here.</summary>
    public static Support Yes { get; } = new(true, "");

    /// <summary>The engine can't run here.</summary>
    public static Support No(string reason) => new(false, reason);
}

/// <summary>A way of running guest code: translation, KVM. Any thread.</summary>
public interface IEngine
{
    /// <summary>What <c>--engine</c> calls it.</summary>
    string Name { get; }

    /// <summary>Looks whether this host can run it. Cheap, no side effects.</summary>
    Support Probe();

    /// <summary>
    /// Hz of the clock that this host gives guests under the engine (<see cref="IGuestClock.Frequency"/>): what a CPU model that tells guests
    /// of the frequency is to be made with. Only where <see cref="Probe"/> says yes.
    /// </summary>
    ulong ClockFrequency { get; }

    /// <summary>Makes a virtual machine without vCPUs.</summary>
    /// <exception cref="UserErrorException">
    /// The engine can't make such a machine; the message says in one sentence what of the specification it can't do.
    /// </exception>
    IVm Create(VmSpec spec);
}
