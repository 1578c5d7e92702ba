using Yadokari.Host.Recipes;

namespace Yadokari.Host.Instances;

/// <summary>The options of <c>yado run</c> that make a named machine.</summary>
/// <param name="Recipe">The recipe of the system; null if the user gives the files to boot.</param>
/// <param name="Name">The machine's name; null to derive one.</param>
/// <param name="Detach">Whether the machine runs in the background.</param>
/// <param name="Remove">Whether the machine is removed when it ends.</param>
/// <param name="UserData">The user's data for cloud-init, or null.</param>
/// <param name="DiskSize">Size of its disk in bytes; null for the recipe's.</param>
public sealed record MachineRequest(Recipe? Recipe, string? Name, bool Detach, bool Remove, byte[]? UserData, long? DiskSize);
