using Yadokari.Boards.Specs;

namespace Yadokari.Cli;

/// <summary>Maps fields of a specification to names of options.</summary>
internal static class OptionNames
{
    /// <summary>The option of a field: <c>--disk</c> of <c>/disks/0/bus</c>.</summary>
    public static string Of(string field)
    {
        string[] parts = field.Split('/');
        if (parts[^1] == "publish")
        {
            return "--publish";
        }

        string name = parts[1];
        return MachineSpec.Kinds.FirstOrDefault(k => k.Name == name)?.Option ?? MachineSpec.Members.FirstOrDefault(m => m.Name == name)?.Option ?? $"--{name}";
    }
}
