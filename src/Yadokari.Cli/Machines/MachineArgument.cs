using System.CommandLine;
using Yadokari.Host.Instances;

namespace Yadokari.Cli.Machines;

/// <summary>Arguments for names of machines.</summary>
internal static class MachineArgument
{
    /// <summary>One name.</summary>
    public static Argument<string> One() => new("NAME") { Description = "A machine's name: 'yado ls' lists them" };

    /// <summary>One name or more.</summary>
    public static Argument<string[]> Several() => new("NAME") { Arity = ArgumentArity.OneOrMore, Description = "Machines' names: 'yado ls' lists them" };

    /// <summary>Finds all machines, before the caller does anything to the first.</summary>
    /// <exception cref="Core.UserErrorException">There is no machine of one of the names.</exception>
    public static MachineFolder[] Find(IEnumerable<string> names) => [.. names.Distinct().Select(MachineFolder.Find)];
}
