namespace Yadokari.Core.Engines;

/// <summary>Whether an engine can run on this host and, if not, one sentence that gives the reason.</summary>
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
    /// <summary>Its name, for <c>--engine</c>.</summary>
    string Name { get; }

    /// <summary>Checks whether the engine can run on this host. Cheap, no side effects.</summary>
    Support Probe();

    /// <summary>
    /// Frequency in Hz of the guest clock under this engine on this host (<see cref="IGuestClock.Frequency"/>): for CPU models that report it to
    /// guests. Only if <see cref="Probe"/> reports support.
    /// </summary>
    ulong ClockFrequency { get; }

    /// <summary>Creates a virtual machine without vCPUs.</summary>
    /// <exception cref="UserErrorException">
    /// The engine does not support the specification; the message names the unsupported part in one sentence.
    /// </exception>
    IVm Create(VmSpec spec);
}
