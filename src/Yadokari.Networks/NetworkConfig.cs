using System.Net.NetworkInformation;
using Yadokari.Core.Networks;
using Yadokari.Networks.User;

namespace Yadokari.Networks;

/// <summary>What a network card is plugged into.</summary>
public sealed record NetworkConfig
{
    /// <summary>The card's address: locally administered.</summary>
    public PhysicalAddress Mac { get; init; } = PhysicalAddress.Parse("52-59-41-44-4F-0F");

    /// <summary>Ports of the host's that are the guest's.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    /// <summary>Whether the guest reaches what listens on the host's loopback alone, at the gateway's address.</summary>
    public bool HostLoopback { get; init; }

    /// <summary>Whether the card offers packed queues too.</summary>
    public bool Packed { get; init; }

    /// <summary>Makes the network.</summary>
    /// <exception cref="Core.UserErrorException">Something of the host's that it needs can't be had.</exception>
    public INetwork Open() => new UserNetwork(Forwards, HostLoopback);
}
