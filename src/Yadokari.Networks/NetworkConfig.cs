using System.Net.NetworkInformation;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Networks;
using Yadokari.Networks.User;

namespace Yadokari.Networks;

/// <summary>What stands behind a network card.</summary>
public enum NetworkKind
{
    /// <summary>A network of its own, which needs no rights and nothing installed.</summary>
    User,

    /// <summary>The same by the program passt.</summary>
    Passt,

    /// <summary>A TAP device of the host's.</summary>
    Tap,
}

/// <summary>What a network card is plugged into.</summary>
public sealed record NetworkConfig
{
    /// <summary>What stands behind it.</summary>
    public NetworkKind Kind { get; init; }

    /// <summary>The name of the TAP device.</summary>
    public string Tap { get; init; } = "";

    /// <summary>The card's address.</summary>
    public PhysicalAddress Mac { get; init; } = MacOf(0);

    /// <summary>Ports of the host's that are the guest's.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    /// <summary>Whether the guest reaches what listens on the host's loopback alone, at the gateway's address.</summary>
    public bool HostLoopback { get; init; }

    /// <summary>Whether the card offers packed queues too.</summary>
    public bool Packed { get; init; }

    /// <summary>The address of a machine's card where none is given: locally administered.</summary>
    /// <param name="card">Which, from 0.</param>
    public static PhysicalAddress MacOf(int card) => new([0x52, 0x59, 0x41, 0x44, 0x4F, (byte)(0x0F + card)]);

    /// <summary>Makes the network.</summary>
    /// <param name="failed">As with <see cref="HostThread.Start"/>, for its thread.</param>
    /// <exception cref="Core.UserErrorException">Something of the host's that it needs can't be had.</exception>
    public INetwork Open(Action<Exception>? failed = null) => Kind switch
    {
        NetworkKind.Passt => new PasstNetwork(Forwards, HostLoopback, failed),
        NetworkKind.Tap => new TapNetwork(Tap, failed),
        _ => new UserNetwork(Forwards, HostLoopback, failed),
    };
}
