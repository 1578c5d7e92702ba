using Yadokari.Host.Recipes;

namespace Yadokari.Host.Instances;

/// <summary>What <c>yado run</c> was asked for besides the machine's parts: which system, under which name.</summary>
/// <param name="Recipe">What the system is made of; null where the user names what boots.</param>
/// <param name="Name">The machine's name; null for one made up.</param>
/// <param name="Detach">Whether it runs in the background.</param>
/// <param name="Remove">Whether it goes away once it has ended.</param>
/// <param name="UserData">The user's data for cloud-init, or null.</param>
/// <param name="DiskSize">Bytes of its disk; null for what the recipe has.</param>
public sealed record MachineRequest(Recipe? Recipe, string? Name, bool Detach, bool Remove, byte[]? UserData, long? DiskSize);
